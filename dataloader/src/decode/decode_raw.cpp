// SPDX-License-Identifier: Apache-2.0
// Encodings that hold nothing but their elements: raw, tokens16, tokens32, bytes.
#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cstring>
#include <utility>

#include "decode/decode_detail.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

class RawDecoder final : public FieldDecoder {
 public:
  RawDecoder(FieldInfo info, std::string_view encoding, const Conversion& conversion)
      : FieldDecoder(std::move(info), encoding),
        conversion_(conversion),
        stored_row_(delivered().row_bytes() / size_of(delivered().dtype) * conversion.stored_bytes()) {}

  [[nodiscard]] std::int64_t rows(Bytes stored) const override {
    if (!delivered().ragged()) return 1;
    if (stored.size() % stored_row_ != 0) {
      damaged(fmt::format("{} bytes are not whole rows of {} bytes", stored.size(), stored_row_));
    }
    return static_cast<std::int64_t>(stored.size() / stored_row_);
  }

  void decode(Bytes stored, std::span<std::byte> place) const override {
    if (const auto expected = static_cast<std::size_t>(rows(stored)) * stored_row_; stored.size() != expected) {
      damaged(fmt::format("it has {} bytes, not {}", stored.size(), expected));
    }
    assert(place.size() / size_of(delivered().dtype) == stored.size() / conversion_.stored_bytes());
    conversion_.apply(stored, place.data());
  }

 private:
  const Conversion conversion_;
  const std::size_t stored_row_;  // bytes of a row; of the whole sample where it is not ragged
};

// A decimal integer as text, as WebDataset keeps classes (".cls").
class IntegerTextDecoder final : public FieldDecoder {
 public:
  explicit IntegerTextDecoder(const std::string& name)
      : FieldDecoder({.name = name, .dtype = DType::int64, .shape = {}}, "bytes") {}

  void decode(Bytes stored, std::span<std::byte> place) const override {
    constexpr std::string_view kSpace = " \t\r\n";
    std::string_view text(reinterpret_cast<const char*>(stored.data()), stored.size());
    text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
    text = text.substr(0, text.find_last_not_of(kSpace) + 1);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) {
      damaged(fmt::format("its {} bytes are not a decimal integer", stored.size()));
    }
    std::memcpy(place.data(), &value, sizeof value);
  }
};

std::unique_ptr<const Decoder> make(const StoredField& stored, std::string_view elements, const FieldOptions& options,
                                    Bytes example) {
  const Conversion conversion(elements, options, stored.encoding);
  auto shape = stored.shape;
  if (shape.empty() && stored.encoding != "raw") {
    shape = {static_cast<std::int64_t>(example.size() / conversion.stored_bytes())};
  }
  if (options.ragged && shape.empty()) {
    refuse(options, stored.encoding, "a single number cannot be ragged", "leave ragged out");
  }
  if (options.ragged) shape.front() = -1;
  const bool ragged = !shape.empty() && shape.front() == -1;
  const auto elements_of_row = elements_of(shape);
  if (!elements_of_row || (ragged && *elements_of_row == 0)) {
    throw DataError({.what = subject(options.name, stored.encoding),
                     .why = fmt::format("no sample can have the shape {}", text_of(shape)),
                     .fix = "pack the data set again"});
  }
  return std::make_unique<RawDecoder>(
      FieldInfo{.name = options.name, .dtype = conversion.delivered(), .shape = std::move(shape)}, stored.encoding,
      conversion);
}

}  // namespace

std::unique_ptr<const Decoder> make_raw_decoder(const StoredField& stored, const FieldOptions& options, Bytes example) {
  return make(stored, name_of(stored.dtype), options, example);
}

std::unique_ptr<const Decoder> make_token_decoder(const StoredField& stored, const FieldOptions& options,
                                                  Bytes example) {
  return make(stored, stored.encoding == "tokens16" ? "uint16" : "uint32", options, example);
}

std::unique_ptr<const Decoder> make_bytes_decoder(const FieldOptions& options) {
  if (options.dtype == DType::int64 && !options.ragged) return std::make_unique<IntegerTextDecoder>(options.name);
  if (options.dtype.value_or(DType::uint8) != DType::uint8) {
    refuse(options, "bytes", fmt::format("bytes are not delivered as {}", name_of(*options.dtype)),
           "ask for uint8 (the bytes), or for int64 where they are a number in decimal digits");
  }
  return std::make_unique<RawDecoder>(FieldInfo{.name = options.name, .dtype = DType::uint8, .shape = {-1}}, "bytes",
                                      Conversion("uint8", options, "bytes"));
}

}  // namespace lockstep
