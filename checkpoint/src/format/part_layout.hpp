// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "format/manifest.hpp"
#include "lockstep/base/dtype.hpp"

namespace lockstep {

// One dataset of a writer's file: a tensor of which it writes all, in the tensor's shape; or the runs of which it
// writes a part, one behind the other, in one dimension.
struct PartDataset {
  std::string name;
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape;
};

// Where everything lies in a writer's file. A function of the datasets alone, so it is kept from save to save.
struct PartLayout {
  struct Bytes {
    std::uint64_t offset = 0;
    std::vector<std::byte> bytes;
  };
  std::uint64_t file_bytes = 0;
  std::vector<std::uint64_t>
      offsets;                  // of each dataset's first byte; 0 if it has none. From 64 KiB on: multiples of 64
  std::vector<Bytes> metadata;  // libhdf5's own bytes; what is neither these nor a dataset's is 0
};

// Local. Lets libhdf5 lay out the file in memory, without the datasets' bytes: some 20 µs a dataset. Throws IoError.
[[nodiscard]] PartLayout lay_out_part(std::span<const PartDataset> datasets);

// Local. All bytes of index.h5: a virtual dataset for every tensor, over the pieces in the other files; h5py
// and h5dump see each whole. Missing files read as NaN, 0 for integers. Uses names, shapes and pieces of `manifest`, of
// its files the names. Throws IoError.
[[nodiscard]] std::vector<std::byte> index_file(const Manifest& manifest);

// The same from save to save: some 80 µs a tensor are spent only if names, shapes or the pieces' places have changed.
class KeptIndex {
 public:
  [[nodiscard]] const std::vector<std::byte>& of(const Manifest& manifest);  // valid until the next call

 private:
  std::vector<TensorRecord> tensors_;  // without CRC-32Cs
  std::vector<std::string> files_;
  std::vector<std::byte> bytes_;
};

}  // namespace lockstep
