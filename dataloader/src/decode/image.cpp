// SPDX-License-Identifier: Apache-2.0
#include "decode/image.hpp"

#include <fmt/format.h>

#include <cstring>
#include <type_traits>
#include <utility>

#include "decode/decode_detail.hpp"

namespace lockstep {
namespace {

Region shrunk(const Region& region, int shrink) {
  return {.top = region.top / shrink,
          .left = region.left / shrink,
          .height = (region.height + shrink - 1) / shrink,
          .width = (region.width + shrink - 1) / shrink};
}

bool inside(const Region& region, ImageSize size) {
  return region.top >= 0 && region.left >= 0 && region.height > 0 && region.width > 0 && region.top < size.height &&
         region.left < size.width && region.height <= size.height - region.top &&
         region.width <= size.width - region.left;
}

void check_form(const FieldOptions& options, std::string_view encoding, ImageSize stored, int bits, DType dtype) {
  const DType integer = bits == 8 ? DType::uint8 : DType::int32;
  if (dtype != integer && dtype != DType::float32) {
    refuse(options, encoding, fmt::format("its elements of {} bits are not delivered as {}", bits, name_of(dtype)),
           fmt::format("ask for {} or float32", name_of(integer)));
  }
  if (dtype != DType::float32 && (options.scale != 1.0 || options.offset != 0.0)) {
    refuse(options, encoding, "scale and offset need dtype float32", "ask for float32, or leave scale and offset out");
  }
  const bool whole_shrink =
      options.shrink == 1 || (encoding == "jpg" && (options.shrink == 2 || options.shrink == 4 || options.shrink == 8));
  if (!whole_shrink) {
    refuse(options, encoding, fmt::format("shrink = {}", options.shrink),
           "shrink a JPEG by 2, 4 or 8; no other image is shrunk while it is decoded");
  }
  if (options.channels != 1 && options.channels != 3) {
    refuse(options, encoding, fmt::format("channels = {}", options.channels),
           "ask for 1 (grey) or 3 (red, green, blue)");
  }
  if (!options.region) return;
  const auto [top, left, height, width] = *options.region;
  if (!inside(*options.region, stored)) {
    refuse(options, encoding,
           fmt::format("the region of {} × {} pixels at row {}, column {} is not inside the image of {} × {}", height,
                       width, top, left, stored.height, stored.width),
           "give top, left, height and width in pixels of the stored image");
  }
  if (top % options.shrink != 0 || left % options.shrink != 0) {
    refuse(options, encoding,
           fmt::format("the region begins at row {}, column {}, between pixels of the shrunk image", top, left),
           fmt::format("begin it at multiples of shrink = {}", options.shrink));
  }
}

template <typename To, typename From>
inline To delivered_as(From element, [[maybe_unused]] float scale, [[maybe_unused]] float offset) noexcept {
  if constexpr (std::is_same_v<To, float>) {
    return static_cast<float>(element) * scale + offset;
  } else {
    return static_cast<To>(element);
  }
}

template <typename To, typename From>
void put_packed(const From* from, std::int64_t elements, To* to, float scale, float offset) noexcept {
  for (std::int64_t i = 0; i < elements; ++i) to[i] = delivered_as<To>(from[i], scale, offset);
}

// `from`: four elements a pixel. Written so that the compiler uses vectors: a whole pixel is loaded at once.
template <typename To, typename From>
void put_planes(const From* from, std::int64_t pixels, To* __restrict red, To* __restrict green, To* __restrict blue,
                float scale, float offset) noexcept {
  using Pixel = std::conditional_t<sizeof(From) == 1, std::uint32_t, std::uint64_t>;
  constexpr unsigned kBits = 8 * sizeof(From);
  constexpr Pixel kMask = (Pixel{1} << kBits) - 1;
  for (std::int64_t i = 0; i < pixels; ++i) {
    Pixel pixel;
    std::memcpy(&pixel, from + 4 * i, sizeof pixel);
    red[i] = delivered_as<To>(static_cast<std::int32_t>(pixel & kMask), scale, offset);
    green[i] = delivered_as<To>(static_cast<std::int32_t>((pixel >> kBits) & kMask), scale, offset);
    blue[i] = delivered_as<To>(static_cast<std::int32_t>((pixel >> (2 * kBits)) & kMask), scale, offset);
  }
}

}  // namespace

ImageForm::ImageForm(const FieldOptions& options, std::string_view encoding, ImageSize stored, int bits)
    : dtype_(options.dtype.value_or(bits == 8 ? DType::uint8 : DType::int32)),
      bits_(bits),
      channels_(options.channels),
      channels_first_(options.channels_first),
      planes_(options.channels_first && options.channels == 3),
      shrink_(options.shrink),
      scale_(static_cast<float>(options.scale)),
      offset_(static_cast<float>(options.offset)),
      region_(options.region) {
  check_form(options, encoding, stored, bits, dtype_);
  stored_ = stored;
  part_ = shrunk(region_.value_or(Region{.height = stored.height, .width = stored.width}), shrink_);
}

FieldInfo ImageForm::info(const std::string& name) const {
  FieldInfo info{.name = name, .dtype = dtype_, .shape = {part_.height, part_.width, channels_}};
  if (channels_first_) info.shape = {channels_, part_.height, part_.width};
  return info;
}

std::string ImageForm::problem(ImageSize stored) const {
  if (region_ && !inside(*region_, stored)) {
    return fmt::format("the image is {} × {}, the field's region is {} × {} at row {}, column {}", stored.height,
                       stored.width, region_->height, region_->width, region_->top, region_->left);
  }
  if (!region_ && stored != stored_) {
    return fmt::format("the image is {} × {}, the field's are {} × {}", stored.height, stored.width, stored_.height,
                       stored_.width);
  }
  return {};
}

std::byte* ImageForm::row_place(std::span<std::byte> place, std::int64_t row) const noexcept {
  return place.data() + static_cast<std::size_t>(row * part_.width * channels_) * size_of(dtype_);
}

template <typename To, typename From>
void ImageForm::put(const From* from, std::int64_t row, std::span<std::byte> place) const noexcept {
  auto* const to = reinterpret_cast<To*>(place.data());
  if (planes_) {
    To* const red = to + row * part_.width;
    const std::int64_t plane = part_.height * part_.width;
    put_planes(from, part_.width, red, red + plane, red + 2 * plane, scale_, offset_);
  } else {
    put_packed(from, part_.width * channels_, to + row * part_.width * channels_, scale_, offset_);
  }
}

void ImageForm::put_row(const void* pixels, std::int64_t row, std::span<std::byte> place) const noexcept {
  const bool to_float = dtype_ == DType::float32;
  if (bits_ == 8) {
    const auto* const from = static_cast<const std::uint8_t*>(pixels);
    to_float ? put<float>(from, row, place) : put<std::uint8_t>(from, row, place);
  } else {
    const auto* const from = static_cast<const std::uint16_t*>(pixels);
    to_float ? put<float>(from, row, place) : put<std::int32_t>(from, row, place);
  }
}

std::string size_problem(ImageSize size, std::size_t bytes, std::int64_t most_per_byte) {
  if (std::cmp_less_equal(size.height * size.width / most_per_byte, bytes)) return {};
  return fmt::format("its header claims {} × {} pixels, which {} bytes cannot hold", size.height, size.width, bytes);
}

}  // namespace lockstep
