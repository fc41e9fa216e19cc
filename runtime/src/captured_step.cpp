// SPDX-License-Identifier: Apache-2.0
#include "lockstep/runtime/captured_step.hpp"

#include <ATen/ops/empty_like.h>
#include <fmt/format.h>
#include <torch/optim/optimizer.h>
#include <torch/optim/sgd.h>

#include <algorithm>
#include <sstream>
#include <typeinfo>

#include "lockstep/base/error.hpp"
#include "lockstep/comm/gpu_graph.hpp"
#include "optimizer_state.hpp"
#include "runtime_impl.hpp"

namespace lockstep {
namespace {

constexpr int kUsualSteps = 3;  // before the capture: libraries choose their kernels, optimizers make their state

[[noreturn]] void refuse(std::string what, std::string why) {
  throw UsageError({.what = std::move(what),
                    .why = std::move(why),
                    .fix = "pad batches to one shape, or train without CapturedStep"});
}

bool is_ragged(const Column& column) { return column.offsets.defined(); }

}  // namespace

class CapturedStep::Impl {
 public:
  Impl(Runtime& runtime, torch::optim::Optimizer& given, std::function<at::Tensor(const Batch&)> forward)
      : rt(runtime.impl()),
        optimizer(given),
        loss_of(std::move(forward)),
        with_optimizer(typeid(given) == typeid(torch::optim::SGD)) {}  // one derived from it may work on the host, too

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
  if (batch.columns.size() != input.columns.size()) refuse("the batch", "it has other fields than the recorded one");
  for (std::size_t i = 0; i < batch.columns.size(); ++i) {
    const at::Tensor& given = batch.columns[i].values;
    const at::Tensor& recorded = input.columns[i].values;
    if (given.sizes() != recorded.sizes() || given.scalar_type() != recorded.scalar_type()) {
      std::ostringstream why;
      why << "it is " << given.sizes() << ' ' << given.scalar_type() << ", the recorded one " << recorded.sizes() << ' '
          << recorded.scalar_type();
      refuse(fmt::format("field \"{}\" of the batch", batch.columns[i].name), why.str());
    }
    input.columns[i].values.copy_(batch.columns[i].values, /*non_blocking=*/true);
  }
  input.ids = batch.ids;
}

void CapturedStep::Impl::capture(const Batch& batch) {
  input = batch;
  for (Column& column : input.columns) {
    const at::Tensor given = column.values;
    column.values = at::empty_like(given);
    if (given.is_same(batch.data)) input.data = column.values;
    if (given.is_same(batch.target)) input.target = column.values;
  }
  fill(batch);
  groups_of_graph = optimizer_groups(optimizer);
  auto made = rt.gpu->make_graph();
  made->begin_capture();
  try {
    const at::Tensor live = loss_of(input);
    live.backward();
    for (StepParticipant* participant : rt.participants) participant->reduce_now();
    if (with_optimizer) optimizer.step();
    loss = live.detach();
  } catch (...) {
    try {
      made->end_capture();             // else every later wait of this thread fails, and hides the cause
    } catch (const std::exception&) {  // the capture was broken already
    }
    throw;
  }
  made->end_capture();
  graph = std::move(made);
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
