// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lockstep/base/dtype.hpp"
#include "lockstep/hdf5/file.hpp"
#include "lockstep/hdf5/handle.hpp"

namespace lockstep::hdf5 {

// A dataset of any layout in a file that anyone wrote, read by rows of its first dimension. Integers and floats are
// delivered little-endian; unsigned integers of 16 and 32 bits as signed ones of twice the size. Keeps the file open.
// Thread-safe: every method holds hdf5::lock().
class Rows {
 public:
  // Throws DataError: none, of no dimension, of another element type; IoError.
  Rows(const File& file, const std::string& path);

  [[nodiscard]] DType dtype() const noexcept { return dtype_; }
  [[nodiscard]] const std::vector<std::int64_t>& shape() const noexcept { return shape_; }  // [rows, …]
  [[nodiscard]] std::uint64_t row_bytes() const noexcept { return row_bytes_; }
  // Where the rows lie in the file one after the other as they are delivered; nothing where they do not.
  [[nodiscard]] std::optional<std::uint64_t> file_offset() const noexcept { return file_offset_; }

  // One row, of row_bytes(). Throws IoError, also where a filter finds it damaged.
  void read(std::int64_t row, std::span<std::byte> bytes) const;

 private:
  std::string subject_;
  Handle dataset_;
  Handle type_;  // in memory
  DType dtype_ = DType::uint8;
  std::vector<std::int64_t> shape_;
  std::uint64_t row_bytes_ = 0;
  std::optional<std::uint64_t> file_offset_;
};

}  // namespace lockstep::hdf5
