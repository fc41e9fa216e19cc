// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lockstep/base/dtype.hpp"
#include "lockstep/dataloader/records.hpp"
#include "lockstep/dataloader/sample.hpp"

namespace lockstep {

// A part of an image, in pixels of the stored image.
struct Region {
  std::int64_t top = 0;
  std::int64_t left = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
};

// How a stored field is delivered. What is not set follows from the stored field and the first sample.
struct FieldOptions {
  std::string name;              // in the batch
  std::string from{};            // the stored field's name; default: name
  std::optional<DType> dtype{};  // delivered; images: uint8 (PNG of 16 bits: int32) or float32; default: as stored
                                 // (JSON: float64)
  double scale = 1.0;            // delivered = stored · scale + offset, where dtype is float32
  double offset = 0.0;
  bool ragged = false;  // the first dimension differs from sample to sample (npy, raw)
  // Images only. The scale is libjpeg's: the decoder itself skips the work (1, 2, 4 or 8).
  std::optional<Region> region{};  // decoded alone; the rest of the image costs little. Begins at multiples of shrink
  int shrink = 1;                  // JPEG only; delivered height is ⌈region's height / shrink⌉
  int channels = 3;                // 1: grey
  bool channels_first = true;      // [channels, height, width], else [height, width, channels]
  // JSON only: the value at this JSON pointer (RFC 6901), a number or an array of numbers: "/ego/speed".
  std::string pointer{};
};

// Turns the stored bytes of one field into the delivered ones. Thread-safe. A new encoding is one more of these.
class Decoder {
 public:
  virtual ~Decoder() = default;
  [[nodiscard]] virtual const FieldInfo& delivered() const noexcept = 0;
  // Ragged fields: how many rows this sample has. Throws DamagedSample.
  [[nodiscard]] virtual std::int64_t rows(std::span<const std::byte> stored) const = 0;
  // Local. `place`: delivered().row_bytes(), times rows() where ragged. Throws DamagedSample (why: what is wrong with
  // the bytes) and DataError where a good sample has another shape or dtype than the field.
  virtual void decode(std::span<const std::byte> stored, std::span<std::byte> place) const = 0;
};

// Local. `example`: the stored bytes of some sample, from which shape and dtype are taken where nothing else tells
// them. Throws UsageError naming field and option: an option that the encoding does not have, a region outside the
// image.
[[nodiscard]] std::unique_ptr<const Decoder> make_decoder(const StoredField& stored, const FieldOptions& options,
                                                          std::span<const std::byte> example);

}  // namespace lockstep
