// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/decode.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "decode/decode_detail.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

// An option that would silently do nothing is a mistake in the description of the data.
void check_options(std::string_view encoding, const FieldOptions& options) {
  const bool image = encoding == "jpg" || encoding == "png";
  if (!image && (options.region || options.shrink != 1 || options.channels != 3 || !options.channels_first)) {
    refuse(options, encoding, "region, shrink, channels and channels_first are options of images", "leave them out");
  }
  if (encoding != "json" && !options.pointer.empty()) {
    refuse(options, encoding, "pointer is an option of JSON", "leave it out");
  }
  if (image && options.ragged) {
    refuse(options, encoding, "images are not ragged: all have the same size", "leave ragged out");
  }
}

}  // namespace

FieldDecoder::FieldDecoder(FieldInfo info, std::string_view encoding)
    : info_(std::move(info)), what_(subject(info_.name, encoding)) {}

std::int64_t FieldDecoder::rows(Bytes /*stored*/) const { return 1; }

void FieldDecoder::damaged(std::string why) const {
  throw DamagedSample({.what = what_, .why = std::move(why), .fix = "get the file again, or pack it again"});
}

void FieldDecoder::another_form(std::string why) const {
  throw DataError(
      {.what = what_,
       .why = std::move(why),
       .fix = "a field has the same form in all samples of a data set: split the data set, or pack it again"});
}

std::string subject(std::string_view name, std::string_view encoding) {
  return fmt::format("field \"{}\" ({})", name, encoding);
}

std::string text_of(std::span<const std::int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

void refuse(const FieldOptions& options, std::string_view encoding, std::string why, std::string fix) {
  throw UsageError({.what = subject(options.name, encoding), .why = std::move(why), .fix = std::move(fix)});
}

std::optional<std::size_t> elements_of(std::span<const std::int64_t> shape) noexcept {
  constexpr std::size_t kMost = std::size_t{1} << 48;  // more than memory: sizes in bytes then cannot overflow
  if (!shape.empty() && shape.front() == -1) shape = shape.subspan(1);
  std::size_t elements = 1;
  for (const auto length : shape) {
    if (length < 0 || __builtin_mul_overflow(elements, static_cast<std::size_t>(length), &elements)) return {};
  }
  return elements <= kMost ? std::optional(elements) : std::nullopt;
}

Conversion::Conversion(std::string_view stored, const FieldOptions& options, std::string_view encoding)
    : scale_(static_cast<float>(options.scale)), offset_(static_cast<float>(options.offset)) {
  const bool unsigned16 = stored == "uint16";
  const bool scaled = scale_ != 1.0F || offset_ != 0.0F;
  if (unsigned16 || stored == "uint32") {
    stored_bytes_ = unsigned16 ? 2 : 4;
    delivered_ = options.dtype.value_or(DType::int64);
    convert_ = unsigned_converter(stored_bytes_, delivered_);
  } else {
    const DType from = dtype_from_name(stored);
    stored_bytes_ = size_of(from);
    delivered_ = options.dtype.value_or(from);
    if (delivered_ == from && !scaled) return;
    convert_ = converter(from, delivered_);
  }
  if (convert_ == nullptr) {
    refuse(options, encoding, fmt::format("{} is not delivered as {}", stored, name_of(delivered_)),
           "ask for float32, for int64 where it holds integers, or leave dtype out");
  }
  if (scaled && delivered_ != DType::float32) {
    refuse(options, encoding, fmt::format("scale and offset need dtype float32, not {}", name_of(delivered_)),
           "ask for dtype float32, or leave scale and offset out");
  }
}

void Conversion::apply(Bytes stored, std::byte* to) const noexcept {
  if (stored.empty()) return;
  if (convert_ == nullptr) {
    std::memcpy(to, stored.data(), stored.size());
  } else {
    convert_(stored.data(), to, static_cast<std::int64_t>(stored.size() / stored_bytes_), scale_, offset_);
  }
}

std::unique_ptr<const Decoder> make_decoder(const StoredField& stored, const FieldOptions& options, Bytes example) {
  const std::string_view encoding = stored.encoding;
  check_options(encoding, options);
  if (encoding == "raw") return make_raw_decoder(stored, options, example);
  if (encoding == "tokens16" || encoding == "tokens32") return make_token_decoder(stored, options, example);
  if (encoding == "bytes") return make_bytes_decoder(options);
  if (encoding == "npy") return make_npy_decoder(options, example);
  if (encoding == "json") return make_json_decoder(options, example);
  if (encoding == "jpg") return make_jpeg_decoder(options, example);
  if (encoding == "png") return make_png_decoder(options, example);
  refuse(options, encoding, "there is no decoder for this encoding",
         "leave the field out, or store it as raw, tokens16, tokens32, bytes, npy, json, jpg or png");
}

}  // namespace lockstep
