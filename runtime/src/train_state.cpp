// SPDX-License-Identifier: Apache-2.0
#include "lockstep/runtime/train_state.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "lockstep/base/error.hpp"

namespace lockstep {

void TrainState::check_name(const std::string& name) const {
  const auto has = [&](const auto& list) {
    return std::any_of(list.begin(), list.end(), [&](const auto& entry) { return entry.first == name; });
  };
  if (name.empty() || name.find('/') != std::string::npos || name == "blobs") {
    throw UsageError({.what = fmt::format("TrainState::add(\"{}\")", name),
                      .why = "it is not a name for a part of the state",
                      .fix = "use a plain word such as \"model\""});
  }
  if (has(modules_) || has(optimizers_) || has(resumables_)) {
    throw UsageError({.what = fmt::format("TrainState::add(\"{}\")", name),
                      .why = "the name is taken",
                      .fix = "give every part of the state its own name"});
  }
}

TrainState& TrainState::add(std::string name, std::shared_ptr<torch::nn::Module> module) {
  check_name(name);
  modules_.emplace_back(std::move(name), std::move(module));
  return *this;
}

TrainState& TrainState::add(std::string name, torch::optim::Optimizer& optimizer) {
  check_name(name);
  optimizers_.emplace_back(std::move(name), &optimizer);
  return *this;
}

TrainState& TrainState::add(std::string name, Resumable& resumable) {
  check_name(name);
  resumables_.emplace_back(std::move(name), &resumable);
  return *this;
}

}  // namespace lockstep
