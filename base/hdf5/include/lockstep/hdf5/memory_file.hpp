// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "lockstep/base/dtype.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/hdf5/handle.hpp"

namespace lockstep::hdf5 {

// A block of a dataset's elements: where it begins in each dimension, and how far it goes.
struct Box {
  std::vector<std::int64_t> start{};
  std::vector<std::int64_t> count{};
};

// Elements of a virtual dataset that lie in another file's dataset of the same path. The boxes have equally many, which
// correspond in row-major order.
struct Mapping {
  Box target{};        // in the virtual dataset
  std::string file{};  // relative to the folder of the virtual dataset's file
  std::vector<std::int64_t> source_shape{};
  Box source{};
};

// A file that libhdf5 lays out in memory, of which only the metadata's pages exist: a dataset may have any size. Format
// bounds 1.8 … 1.10; equal calls give equal bytes. A dataset's name is its path, "/model/conv1.weight"; groups are
// made. Not thread-safe; every method holds hdf5::lock(). All methods throw IoError.
class MemoryFile {
 public:
  MemoryFile();

  // A contiguous dataset, its bytes aligned to 64 from 64 KiB on. Returns the offset of its first byte, 0 if it has
  // none.
  std::uint64_t add_dataset(const std::string& path, DType dtype, std::span<const std::int64_t> shape);
  // A virtual dataset. Reads as NaN, 0 for integers, where nothing is mapped or a file is missing.
  void add_virtual(const std::string& path, DType dtype, std::span<const std::int64_t> shape,
                   std::span<const Mapping> mappings);
  void close();  // nothing can be added from here on

  // Of the closed file.
  [[nodiscard]] std::uint64_t bytes() const;
  void read(std::uint64_t offset, std::span<std::byte> bytes) const;  // all of them

 private:
  void make_groups(std::string_view path);
  Handle add(const std::string& path, DType dtype, const Handle& space, const Handle& properties);

  FileDescriptor memory_;
  Handle file_;
  Handle links_;
  Handle group_properties_;
  Handle contiguous_;
  Handle virtual_floats_;
  Handle virtual_integers_;
  std::unordered_set<std::string> groups_;
};

}  // namespace lockstep::hdf5
