// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <utility>

#include "lockstep/runtime/runtime.hpp"

namespace lockstep {

// Sums the gradients of one module over all micro-batches of a step while backward runs (docs/determinism.md). Used
// through DistributedDataParallel.
class GradientReducer {
 public:
  // Collective. Copies rank 0's parameters and buffers to every rank and hooks into the gradients.
  // Throws UsageError naming the first parameter in which this rank's module differs from rank 0's.
  GradientReducer(Runtime& runtime, std::shared_ptr<torch::nn::Module> module);
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;
  ~GradientReducer();  // local; takes the hooks off

  // Collective, for programs without Runtime::steps: completes the gradients of this step. A backward pass does it by
  // itself; a rank that had none calls this.
  void synchronize();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// A module whose gradients, after the last backward of a step, are the mean over the global batch, the same bits on
// every rank. Each parameter's .grad is then a view of a bucket, valid until the next step; parameters that no
// micro-batch used keep .grad undefined. Sparse gradients are refused by name. On a GPU no call waits for the device:
// the current stream of the thread that trains comes after the reduction. A backward pass outside of Runtime::steps
// needs ranks that may communicate from any thread there, which MPI's may not.
template <class Module>
class DistributedDataParallel {
 public:
  // Collective.
  DistributedDataParallel(Runtime& runtime, std::shared_ptr<Module> module)
      : module_(std::move(module)), reducer_(runtime, module_) {}

  template <class... Arguments>
  decltype(auto) forward(Arguments&&... arguments) {
    return module_->forward(std::forward<Arguments>(arguments)...);
  }
  [[nodiscard]] Module& module() noexcept { return *module_; }
  void synchronize() { reducer_.synchronize(); }  // Collective. See GradientReducer.

 private:
  std::shared_ptr<Module> module_;
  GradientReducer reducer_;
};

}  // namespace lockstep
