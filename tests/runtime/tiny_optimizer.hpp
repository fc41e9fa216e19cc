// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/optim/optimizer.h>

#include <memory>
#include <utility>
#include <vector>

namespace lockstep::testing {

struct TinyOptions : torch::optim::OptimizerCloneableOptions<TinyOptions> {
  [[nodiscard]] double get_lr() const override { return 0.1; }
  void set_lr(double) override {}
};

// An optimizer of the user's own, of which lockstep cannot know what it keeps.
class TinyOptimizer : public torch::optim::Optimizer {
 public:
  explicit TinyOptimizer(std::vector<at::Tensor> parameters)
      : Optimizer(std::move(parameters), std::make_unique<TinyOptions>()) {}
  at::Tensor step(LossClosure = nullptr) override { return {}; }
};

}  // namespace lockstep::testing
