// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "lockstep/checkpoint/contents.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/runtime/train_state.hpp"

namespace lockstep {

// A train state as named tensors and blobs, in the memory of the host. `keep_alive` owns what the slices point at.
struct FlatState {
  std::vector<TensorSlice> tensors;
  std::map<std::string, std::string> blobs;
  std::vector<at::Tensor> keep_alive;
};

// Waits for a GPU once, if the state is on one.
[[nodiscard]] FlatState flatten(const TrainState& state);

// Puts a checkpoint's values into `state`. Everything is checked before anything is changed.
// Throws CheckpointError naming the first tensor that is missing, left over, or of another shape or dtype.
// with_groups false: the optimizers keep their present learning rates and so on.
void restore(TrainState& state, const Checkpoint& checkpoint, bool with_groups);

// SHA-256 over all parameters (no buffers) in the bytewise order of their names: contiguous little-endian bytes.
[[nodiscard]] std::string parameters_sha256(const TrainState& state);

}  // namespace lockstep
