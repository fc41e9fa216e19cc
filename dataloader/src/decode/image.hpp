// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lockstep/dataloader/decode.hpp"

namespace lockstep {

struct ImageSize {
  std::int64_t height = 0;
  std::int64_t width = 0;
  friend bool operator==(const ImageSize&, const ImageSize&) = default;
};

// How the pixels of an image field are delivered: what JPEG and PNG have in common.
class ImageForm {
 public:
  // `stored`: the example's size. `bits`: of a stored element, 8 or 16. Throws UsageError.
  ImageForm(const FieldOptions& options, std::string_view encoding, ImageSize stored, int bits);

  [[nodiscard]] FieldInfo info(const std::string& name) const;
  // Empty, or why an image of this size does not give the field's shape.
  [[nodiscard]] std::string problem(ImageSize stored) const;
  // The part that is delivered, in pixels of an image that was shrunk by the decoder.
  [[nodiscard]] const Region& part() const noexcept { return part_; }
  [[nodiscard]] int shrink() const noexcept { return shrink_; }
  [[nodiscard]] int channels() const noexcept { return channels_; }
  // Elements of a pixel in the rows to be given to put_row. Colours that are delivered as planes are taken apart
  // fastest out of four elements a pixel, the last unused.
  [[nodiscard]] int pixel_elements() const noexcept { return planes_ ? 4 : channels_; }
  // Whether decoded rows are what is delivered, so that they can be decoded straight to row_place().
  [[nodiscard]] bool straight() const noexcept { return !planes_ && dtype_ == DType::uint8; }
  [[nodiscard]] std::byte* row_place(std::span<std::byte> place, std::int64_t row) const noexcept;
  // Delivers row `row` of the part. `pixels`: its first pixel; its elements are uint8 or uint16, as `bits` said.
  void put_row(const void* pixels, std::int64_t row, std::span<std::byte> place) const noexcept;

 private:
  template <typename To, typename From>
  void put(const From* from, std::int64_t row, std::span<std::byte> place) const noexcept;

  DType dtype_;
  int bits_;
  int channels_;
  bool channels_first_;
  bool planes_;  // colours, each in a plane of its own
  int shrink_;
  float scale_;
  float offset_;
  std::optional<Region> region_;
  ImageSize stored_;
  Region part_;
};

// Whether so many bytes can hold an image of this size, so that nothing is allocated because a header claims it.
// `most_per_byte`: the pixels that the encoding can put into a byte.
[[nodiscard]] std::string size_problem(ImageSize size, std::size_t bytes, std::int64_t most_per_byte);

}  // namespace lockstep
