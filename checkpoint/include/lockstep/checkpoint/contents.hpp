// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lockstep/base/dtype.hpp"
#include "lockstep/checkpoint/determinism_record.hpp"

namespace lockstep {

// A run of consecutive elements (row-major) of a named tensor. Today a slice is the whole tensor; sharded state uses the
// same interface.
struct TensorSlice {
  std::string name;                         // "/model/conv1.weight": its dataset's path
  DType dtype = DType::float32;
  std::vector<std::int64_t> global_shape;
  std::int64_t first_element = 0;
  std::int64_t elements = 0;
  const std::byte* data = nullptr;          // contiguous, little-endian; borrowed until the save returns
};

// What a checkpoint holds.
struct CheckpointContents {
  std::int64_t step = 0;
  int world_size = 1;
  std::uint64_t seed = 0;
  DeterminismRecord determinism;
  std::vector<TensorSlice> tensors;
  std::map<std::string, std::string> blobs;  // name to text: JSON of loaders, parameter groups, configuration
};

}  // namespace lockstep
