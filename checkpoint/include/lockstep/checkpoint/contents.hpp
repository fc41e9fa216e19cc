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

// A run of consecutive elements (row-major) of a named tensor that this rank holds: the whole of a replicated tensor, a
// part of a sharded one. A rank may hold several runs of a tensor. Runs that several ranks hold must have the same
// bits.
struct TensorSlice {
  std::string name;  // "/model/conv1.weight": its dataset's path
  DType dtype = DType::float32;
  std::vector<std::int64_t> global_shape;  // of the whole tensor
  std::int64_t first_element = 0;
  std::int64_t elements = 0;
  const std::byte* data = nullptr;  // contiguous, little-endian; borrowed until the save has its copy
  bool changes_in_forward = false;  // BatchNorm's statistics, say: a save that overlaps copies it at once
};

// What a checkpoint holds. All but `tensors` is the same on every rank.
struct CheckpointContents {
  std::int64_t step = 0;
  std::uint64_t seed = 0;
  DeterminismRecord determinism;
  std::vector<TensorSlice> tensors;
  std::map<std::string, std::string>
      blobs;  // name to text in UTF-8: JSON of loaders, parameter groups; kept in MANIFEST
  std::map<std::string, double> metrics = {};  // the newest values, for retention by metric: "eval.accuracy"
};

}  // namespace lockstep
