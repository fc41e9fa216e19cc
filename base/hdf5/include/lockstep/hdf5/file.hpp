// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/base/dtype.hpp"
#include "lockstep/hdf5/handle.hpp"

namespace lockstep::hdf5 {

struct DatasetInfo {
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape{};
  std::uint64_t file_offset = 0;  // of the contiguous payload in the file; see File::dataset_info
};

// One HDF5 file with contiguous datasets: the layout that shards and checkpoints share. Format bounds 1.8 … 1.10, payload
// aligned to 4096 bytes, allocated early and never filled, file locks off, automatic error printing off.
// bfloat16 is stored as a 16-bit float type (sign bit 15, exponent 7…14, mantissa 0…6) that h5py and h5dump read.
// bool is stored as uint8 with the attribute lockstep_dtype = "bool". Not thread-safe; every method holds hdf5::lock().
class File {
 public:
  static File create(const std::filesystem::path& path);     // fails if it exists. Throws IoError.
  static File open(const std::filesystem::path& path);       // read only. Throws IoError, also when truncated.
  // A copy of `bytes` as a file, read only; `name` is for messages. Throws IoError.
  static File open_image(std::span<const std::byte> bytes, const std::string& name);

  // Creates a contiguous dataset at `path` ("/model/conv1.weight"; groups are made). Zero elements are fine.
  void create_dataset(const std::string& path, DType dtype, std::span<const std::int64_t> shape);
  void write_dataset(const std::string& path, std::span<const std::byte> bytes);          // the whole of it
  void write_rows(const std::string& path, std::int64_t first_row, std::span<const std::byte> bytes);
  void set_attribute(const std::string& object, const std::string& name, double value);
  void set_attribute(const std::string& object, const std::string& name, std::string_view text);

  [[nodiscard]] std::vector<std::string> datasets() const;                                // full paths, bytewise order
  [[nodiscard]] DatasetInfo dataset_info(const std::string& path) const;                  // Throws DataError if none.
  [[nodiscard]] bool has_dataset(const std::string& path) const;
  void read_dataset(const std::string& path, std::span<std::byte> bytes) const;           // the whole of it
  void read_rows(const std::string& path, std::int64_t first_row, std::span<std::byte> bytes) const;
  [[nodiscard]] std::optional<double> number_attribute(const std::string& object, const std::string& name) const;
  [[nodiscard]] std::optional<std::string> text_attribute(const std::string& object, const std::string& name) const;

  void close();  // of a file being written; throws IoError. Does not fsync.

 private:
  friend class Rows;
  File(Handle handle, std::filesystem::path path);
  Handle file_;
  std::filesystem::path path_;
};

}  // namespace lockstep::hdf5
