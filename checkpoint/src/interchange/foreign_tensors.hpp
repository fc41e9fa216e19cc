// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/base/dtype.hpp"

namespace lockstep {

// A tensor of a file that someone else wrote.
struct ForeignTensor {
  std::string name;
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;  // row-major, little-endian
};

// All tensors of one such file. Most of them lie in the file's mapping, which must outlive this.
class ForeignTensors {
 public:
  explicit ForeignTensors(std::size_t file_bytes) : most_bytes_(kMostTimes * file_bytes) {}

  // Throws DataError: bytes that do not fit the shape, or tensors that share so many that writing each of them would
  // fill a disk.
  void add(ForeignTensor tensor);
  void add_copy(ForeignTensor tensor, std::vector<std::byte> bytes);
  [[nodiscard]] const std::vector<ForeignTensor>& all() const noexcept { return tensors_; }

 private:
  static constexpr std::uint64_t kMostTimes = 16;  // tied weights are one or two
  std::uint64_t most_bytes_;
  std::uint64_t total_bytes_ = 0;
  std::vector<ForeignTensor> tensors_;
  std::list<std::vector<std::byte>> copies_;
};

// The readers of files that others wrote. Pure but for read_hdf5, whose `path` is the file that `file` maps: nothing of
// the file is believed before it was checked, nothing is run. They throw DataError.
[[nodiscard]] ForeignTensors read_safetensors(std::span<const std::byte> file);
[[nodiscard]] ForeignTensors read_torch(std::span<const std::byte> file);
[[nodiscard]] ForeignTensors read_hdf5(std::span<const std::byte> file, const std::string& path);

// Throws DataError.
[[noreturn]] void refuse(std::string what, std::string why);

// "tensor conv1.weight", without control characters and not longer than a line.
[[nodiscard]] std::string tensor_text(std::string_view name);

}  // namespace lockstep
