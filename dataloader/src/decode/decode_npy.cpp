// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <iterator>
#include <utility>
#include <vector>

#include "decode/decode_detail.hpp"
#include "decode/npy.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

class NpyDecoder final : public FieldDecoder {
 public:
  NpyDecoder(FieldInfo info, Bytes example, const NpyArray& array, const Conversion& conversion)
      : FieldDecoder(std::move(info), "npy"),
        elements_(array.elements),
        conversion_(conversion),
        example_header_(example.begin(), example.end() - std::ssize(array.payload)),
        example_bytes_(example.size()),
        example_rows_(array.shape.empty() ? 1 : array.shape.front()) {}

  [[nodiscard]] std::int64_t rows(Bytes stored) const override { return delivered().ragged() ? parse(stored).rows : 1; }

  void decode(Bytes stored, std::span<std::byte> place) const override {
    const Bytes payload = parse(stored).payload;
    assert(place.size() / size_of(delivered().dtype) == payload.size() / conversion_.stored_bytes());
    conversion_.apply(payload, place.data());
  }

 private:
  struct Content {
    std::int64_t rows = 1;
    Bytes payload;
  };

  [[nodiscard]] Content parse(Bytes stored) const {
    // Most samples have the same header, byte for byte, and parsing it would take longer than copying 2 KiB.
    if (stored.size() == example_bytes_ &&
        std::memcmp(stored.data(), example_header_.data(), example_header_.size()) == 0) {
      return {example_rows_, stored.subspan(example_header_.size())};
    }
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
    return {array.shape.empty() ? 1 : array.shape.front(), array.payload};
  }

  const std::string_view elements_;  // as stored
  const Conversion conversion_;
  const std::vector<std::byte> example_header_;
  const std::size_t example_bytes_;
  const std::int64_t example_rows_;
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
      FieldInfo{.name = options.name, .dtype = conversion.delivered(), .shape = std::move(shape)}, example, array,
      conversion);
}

}  // namespace lockstep
