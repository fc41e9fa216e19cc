// SPDX-License-Identifier: Apache-2.0
#include "picture.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <png.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "lockstep/base/error.hpp"
#include "lockstep/dataloader/decode.hpp"

namespace lockstep::tool {
namespace {

constexpr std::int64_t kHighest = 160;  // pixels; a jpg is shrunk to less by its decoder
constexpr std::int64_t kLargest = 4096;

struct Pixels {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 0;     // 1 or 3
  std::vector<std::byte> bytes;  // [height, width, channels]
};

std::unique_ptr<const Decoder> decoder_for(const StoredField& field, std::span<const std::byte> stored) {
  FieldOptions options{.name = field.name, .channels_first = false};
  if (field.encoding != "jpg") {
    if (field.encoding != "png") options.channels_first = true;  // raw and npy have no say in it
    return make_decoder(field, options, stored);
  }
  auto decoder = make_decoder(field, options, stored);
  while (options.shrink < 8 && decoder->delivered().shape.front() > kHighest) {
    options.shrink *= 2;
    decoder = make_decoder(field, options, stored);
  }
  return decoder;
}

std::vector<std::byte> interleaved(const std::vector<std::byte>& planes, std::size_t channels) {
  std::vector<std::byte> bytes(planes.size());
  const auto pixels = planes.size() / channels;
  for (std::size_t i = 0; i < planes.size(); ++i) bytes[i % pixels * channels + i / pixels] = planes[i];
  return bytes;
}

std::optional<Pixels> pixels_of(const StoredField& field, std::span<const std::byte> stored) {
  const auto decoder = decoder_for(field, stored);
  const auto& info = decoder->delivered();
  const auto& shape = info.shape;
  if (info.dtype != DType::uint8 || info.ragged() || shape.size() < 2 || shape.size() > 3) return std::nullopt;
  const auto is_channels = [](std::int64_t size) { return size == 1 || size == 3; };
  const bool planes = shape.size() == 3 && is_channels(shape[0]);
  if (shape.size() == 3 && !planes && !is_channels(shape[2])) return std::nullopt;

  Pixels found;
  found.height = planes ? shape[1] : shape[0];
  found.width = planes ? shape[2] : shape[1];
  found.channels = shape.size() == 2 ? 1 : planes ? shape[0] : shape[2];
  if (found.height < 1 || found.width < 1 || found.height > kLargest || found.width > kLargest) return std::nullopt;
  found.bytes.resize(info.row_bytes());
  decoder->decode(stored, found.bytes);
  if (planes) found.bytes = interleaved(found.bytes, static_cast<std::size_t>(found.channels));
  return found;
}

std::vector<unsigned char> encode_png(const Pixels& pixels) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(pixels.width);
  image.height = static_cast<png_uint_32>(pixels.height);
  image.format = pixels.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::vector<unsigned char> png(bytes);
  if (png_image_write_to_memory(&image, png.data(), &bytes, 0, pixels.bytes.data(), 0, nullptr) == 0) {
    throw IoError({.what = "write a PNG", .why = image.message});
  }
  png.resize(bytes);
  return png;
}

}  // namespace

std::optional<std::string> picture_url(const StoredField& field, std::span<const std::byte> stored) {
  const bool may_be = field.encoding == "jpg" || field.encoding == "png" || field.encoding == "npy" ||
                      (field.encoding == "raw" && field.dtype == DType::uint8 && field.shape.size() > 1);
  if (!may_be || stored.data() == nullptr) return std::nullopt;
  const auto pixels = pixels_of(field, stored);
  if (!pixels) return std::nullopt;
  const auto png = encode_png(*pixels);
  std::string text(4 * ((png.size() + 2) / 3) + 1, '\0');  // and the zero that OpenSSL ends it with
  text.resize(static_cast<std::size_t>(
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), png.data(), static_cast<int>(png.size()))));
  return fmt::format("data:image/png;base64,{}", text);
}

}  // namespace lockstep::tool
