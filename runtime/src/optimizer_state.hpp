// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/optim/optimizer.h>

#include <string>
#include <utility>
#include <vector>

namespace lockstep {

// One value that an optimizer keeps for a parameter, under PyTorch's name: momentum_buffer, exp_avg, step.
struct OptimizerSlot {
  std::string name;
  at::Tensor value;  // `step` is int64 of shape []
};

// The kind of optimizer, "SGD". Throws UsageError for one that is not known here, naming its type.
[[nodiscard]] std::string optimizer_kind(const torch::optim::Optimizer& optimizer);

// What `optimizer` keeps for `parameter`; empty before its first step.
[[nodiscard]] std::vector<OptimizerSlot> optimizer_slots(torch::optim::Optimizer& optimizer,
                                                         const at::Tensor& parameter);

// Puts `slots` back. Throws CheckpointError naming a slot that this kind of optimizer does not have.
void set_optimizer_slots(torch::optim::Optimizer& optimizer, const at::Tensor& parameter,
                         const std::vector<OptimizerSlot>& slots);

// The options of all parameter groups as JSON: [{"lr": 0.1, …}, …].
[[nodiscard]] std::string optimizer_groups(torch::optim::Optimizer& optimizer);
void set_optimizer_groups(torch::optim::Optimizer& optimizer, const std::string& json);  // Throws CheckpointError.

}  // namespace lockstep
