// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "decode_detail.hpp"
#include "lockstep/base/error.hpp"
#include "npy.hpp"

namespace lockstep {
namespace {

class NpyDecoder final : public FieldDecoder {
 public:
  NpyDecoder(FieldInfo info, const NpyArray& example, const Conversion& conversion)
      : FieldDecoder(std::move(info), "npy"), elements_(example.elements), conversion_(conversion) {}

  [[nodiscard]] std::int64_t rows(Bytes stored) const override {
    return delivered().ragged() ? parse(stored).shape.front() : 1;
  }

  void decode(Bytes stored, std::span<std::byte> place) const override {
    const NpyArray array = parse(stored);
    assert(place.size() / size_of(delivered().dtype) == array.payload.size() / conversion_.stored_bytes());
    conversion_.apply(array.payload, place.data());
  }

 private:
  [[nodiscard]] NpyArray parse(Bytes stored) const {
    NpyArray array;
    if (auto problem = parse_npy(stored, array); !problem.empty()) damaged(std::move(problem));
    const auto& shape = delivered().shape;
    const bool same = array.shape.size() == shape.size() &&
                      std::ranges::equal(shape, array.shape,
                                         [](auto expected, auto found) { return expected == -1 || expected == found; });
    if (!same || array.elements != elements_) {
      another_form(fmt::format("the array is {} {}, the field's are {} {}", array.elements, text_of(array.shape),
                               elements_, text_of(shape)));
    }
    return array;
  }

  const std::string_view elements_;  // as stored
  const Conversion conversion_;
};

}  // namespace

std::unique_ptr<const Decoder> make_npy_decoder(const FieldOptions& options, Bytes example) {
  NpyArray array;
  if (auto problem = parse_npy(example, array); !problem.empty()) {
    throw DamagedSample({.what = subject(options.name, "npy"),
                         .why = std::move(problem),
                         .fix = "write it with numpy.save, of a contiguous array of numbers"});
  }
  const Conversion conversion(array.elements, options, "npy");
  auto shape = array.shape;
  if (options.ragged && shape.empty()) {
    refuse(options, "npy", "a single number cannot be ragged", "leave ragged out");
  }
  if (options.ragged) shape.front() = -1;
  return std::make_unique<NpyDecoder>(
      FieldInfo{.name = options.name, .dtype = conversion.delivered(), .shape = std::move(shape)}, array, conversion);
}

}  // namespace lockstep
