// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "lockstep/runtime/steps.hpp"

namespace lockstep {

// The steps of a loop, which on a GPU are recorded once as a CUDA graph and then replayed: for small nets, whose
// kernels are shorter than the host takes to queue them. Calls of a replay are not watched: one that stands still has
// no timeout. To be destroyed before Runtime::close().
//   lockstep::CapturedStep train_step(rt, optimizer, [&](const lockstep::Batch& batch) {
//     return cross_entropy(model.forward(batch.data), batch.target);
//   });
//   for (auto& step : rt.steps(state, loader)) train_step(step);
// After three steps as usual, forward, backward, the reduction of gradients and, of SGD with options that do not
// change, the optimizer's step are in the graph; other optimizers' steps follow as usual, because LibTorch's keep their
// count on the host. As usual also run: every step on the CPU or where gradients travel through the host, steps of
// another number of samples (an epoch's last), ragged fields, and all steps where a rank has several micro-batches or
// they differ in size. `loss_of` is called for usual steps and once for the graph: what it does on the host besides is
// not repeated; it must not wait for the device, and uses the same parameters in every step. Stopping, saving, and the
// loss in the log are those of any loop.
class CapturedStep {
 public:
  // Local. `loss_of` is the forward pass of a micro-batch, through a DistributedDataParallel. Borrows all but
  // `loss_of`.
  CapturedStep(Runtime& runtime, torch::optim::Optimizer& optimizer, std::function<at::Tensor(const Batch&)> loss_of);
  CapturedStep(const CapturedStep&) = delete;
  CapturedStep& operator=(const CapturedStep&) = delete;
  ~CapturedStep();

  // Collective. One step: gradients dropped, all micro-batches of this rank, optimizer. Logs the loss as "loss". Throws
  // Error if ranks use other parameters in a captured step.
  void operator()(Step<DataLoader>& step);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
