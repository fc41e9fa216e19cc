// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/base/resumable.hpp"

namespace torch {
namespace nn {
class Module;
}
namespace optim {
class Optimizer;
}
}  // namespace torch

namespace lockstep {

// What a checkpoint of a run holds, by name: modules, optimizers, and whatever has a position. The names become the
// groups of the checkpoint: "/model/conv1.weight", "/optimizer/conv1.weight/momentum_buffer".
class TrainState {
 public:
  // Parameters and buffers. Kept alive.
  TrainState& add(std::string name, std::shared_ptr<torch::nn::Module> module);
  // Slots of every parameter and the parameter groups: SGD, Adam, AdamW, RMSprop, Adagrad; others are refused by name
  // when the state is saved. Its parameters must belong to a module of this state. Borrowed: must outlive this.
  TrainState& add(std::string name, torch::optim::Optimizer& optimizer);
  // Borrowed: must outlive this.
  TrainState& add(std::string name, Resumable& resumable);

  [[nodiscard]] const auto& modules() const noexcept { return modules_; }
  [[nodiscard]] const auto& optimizers() const noexcept { return optimizers_; }
  [[nodiscard]] const auto& resumables() const noexcept { return resumables_; }

 private:
  void check_name(const std::string& name) const;  // Throws UsageError: taken, empty, or with a '/'.
  std::vector<std::pair<std::string, std::shared_ptr<torch::nn::Module>>> modules_;
  std::vector<std::pair<std::string, torch::optim::Optimizer*>> optimizers_;
  std::vector<std::pair<std::string, Resumable*>> resumables_;
};

}  // namespace lockstep
