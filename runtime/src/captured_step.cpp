// SPDX-License-Identifier: Apache-2.0
#include "lockstep/runtime/captured_step.hpp"

#include <ATen/ops/empty_like.h>
#include <torch/optim/optimizer.h>
#include <torch/optim/sgd.h>

#include <algorithm>

#include "lockstep/comm/gpu_graph.hpp"
#include "optimizer_state.hpp"
#include "runtime_impl.hpp"

namespace lockstep {
namespace {

constexpr int kUsualSteps = 3;  // before the capture: libraries choose their kernels, optimizers make their state

bool is_ragged(const Column& column) { return column.offsets.defined(); }

}  // namespace

class CapturedStep::Impl {
 public:
  Impl(Runtime& runtime, torch::optim::Optimizer& given, std::function<at::Tensor(const Batch&)> forward)
      : rt(runtime.impl()),
        optimizer(given),
        loss_of(std::move(forward)),
        with_optimizer(dynamic_cast<torch::optim::SGD*>(&given) != nullptr) {}

  [[nodiscard]] bool fits(const Batch& batch, std::int64_t samples) const;
  [[nodiscard]] at::Tensor run(const Batch& batch, std::int64_t samples);
  void capture(const Batch& batch);
  void fill(const Batch& batch);

  Runtime::Impl& rt;
  torch::optim::Optimizer& optimizer;
  std::function<at::Tensor(const Batch&)> loss_of;
  bool with_optimizer;  // is in the graph
  bool optimizer_done = false;
  int usual_steps = 0;
  std::unique_ptr<comm::gpu::Graph> graph;
  std::string groups_of_graph;  // options that are numbers in the graph's kernels
  Batch input;                  // of the graph
  at::Tensor loss;              // its result
};

// Whether this step may be in a graph: the same on all ranks, because their calls must go together.
bool CapturedStep::Impl::fits(const Batch& batch, std::int64_t samples) const {
  if (!rt.gpu || rt.transport.transport != GpuTransport::nccl) return false;  // through the host is not the GPU's alone
  if (rt.micro_batches != rt.world.world_size() || samples % rt.micro_batches != 0) return false;
  if (samples != rt.options.global_batch) return false;
  return std::ranges::none_of(batch.columns, is_ragged);
}

void CapturedStep::Impl::fill(const Batch& batch) {
  for (std::size_t i = 0; i < batch.columns.size(); ++i) {
    input.columns[i].values.copy_(batch.columns[i].values, /*non_blocking=*/true);
  }
  input.ids = batch.ids;
}

void CapturedStep::Impl::capture(const Batch& batch) {
  input = batch;
  for (Column& column : input.columns) {
    column.values = at::empty_like(column.values);
    if (column.name == "data") input.data = column.values;
    if (column.name == "target") input.target = column.values;
  }
  fill(batch);
  groups_of_graph = optimizer_groups(optimizer);
  graph = rt.gpu->make_graph();
  graph->begin_capture();
  const at::Tensor live = loss_of(input);
  live.backward();
  for (StepParticipant* participant : rt.participants) participant->reduce_now();
  if (with_optimizer) optimizer.step();
  loss = live.detach();
  graph->end_capture();
}

// The batch's loss, with the gradients in the making.
at::Tensor CapturedStep::Impl::run(const Batch& batch, std::int64_t samples) {
  optimizer_done = false;
  if (!fits(batch, samples) || usual_steps < kUsualSteps) {
    if (fits(batch, samples)) ++usual_steps;
    at::Tensor result = loss_of(batch);
    result.backward();
    return result;
  }
  if (graph && with_optimizer && groups_of_graph != optimizer_groups(optimizer)) {
    with_optimizer = false;  // a learning rate that follows a plan
    graph.reset();
  }
  const bool recorded = graph != nullptr;
  if (recorded) {
    fill(batch);
  } else {
    capture(batch);
  }
  graph->replay();
  if (recorded) {
    for (StepParticipant* participant : rt.participants) participant->replayed();
  }
  optimizer_done = with_optimizer;
  return loss;
}

CapturedStep::CapturedStep(Runtime& runtime, torch::optim::Optimizer& optimizer,
                           std::function<at::Tensor(const Batch&)> loss_of)
    : impl_(std::make_unique<Impl>(runtime, optimizer, std::move(loss_of))) {}
CapturedStep::~CapturedStep() = default;

void CapturedStep::operator()(Step<DataLoader>& step) {
  impl_->optimizer.zero_grad();
  impl_->optimizer_done = false;
  for (const Batch& batch : step.micro_batches()) step.log("loss", impl_->run(batch, step.samples()));
  if (!impl_->optimizer_done) impl_->optimizer.step();
}

}  // namespace lockstep
