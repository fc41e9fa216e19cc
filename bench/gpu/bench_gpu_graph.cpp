// SPDX-License-Identifier: Apache-2.0
// A step of a small convolutional net (forward, backward, reduction, SGD) as one CUDA graph beside the same step queued
// kernel by kernel: time, and whether all losses are equal bit for bit.
#include <ATen/Context.h>
#include <c10/core/StreamGuard.h>
#include <torch/nn.h>
#include <torch/optim/sgd.h>

#include "gpu/graph_api.hpp"
#include "gpu_bench.hpp"
#include "lockstep/comm/local.hpp"

namespace lockstep::bench {
namespace {

constexpr int kWarmUp = 3, kSteps = 200;
constexpr std::int64_t kBatch = 32;

torch::nn::Sequential small_net(c10::Device device) {
  at::manual_seed(1);
  torch::nn::Sequential net(
      torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 16, 3).padding(1)), torch::nn::Functional(at::relu),
      torch::nn::Conv2d(torch::nn::Conv2dOptions(16, 32, 3).stride(2).padding(1)), torch::nn::Functional(at::relu),
      torch::nn::Conv2d(torch::nn::Conv2dOptions(32, 32, 3).stride(2).padding(1)), torch::nn::Functional(at::relu),
      torch::nn::Flatten(), torch::nn::Linear(32 * 7 * 7, 10));
  net->to(device);
  return net;
}

// One training run over the same batches; its step reads `data` and `target` and leaves `loss`.
class Training {
 public:
  Training(Communicator& ranks, c10::Device device)
      : ranks_(ranks),
        net_(small_net(device)),
        sgd_(net_->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9)),
        data_(at::zeros({kBatch, 1, 28, 28}, at::TensorOptions().device(device))),
        target_(at::zeros({kBatch}, at::TensorOptions().dtype(at::kLong).device(device))),
        loss_(at::zeros({}, data_.options())),
        losses_(at::zeros({kSteps}, data_.options())),
        batches_(at::randn({8, kBatch, 1, 28, 28}).to(device)),
        targets_(at::randint(10, {8, kBatch}, at::TensorOptions().dtype(at::kLong)).to(device)) {}

  void load(int step) {
    data_.copy_(batches_[step % 8]);
    target_.copy_(targets_[step % 8]);
  }
  void train() {
    for (at::Tensor& parameter : net_->parameters()) parameter.mutable_grad().reset();
    const at::Tensor loss = at::cross_entropy_loss(net_->forward(data_), target_);
    loss.backward();
    for (at::Tensor& parameter : net_->parameters()) {
      ranks_.all_reduce(parameter.mutable_grad(), ReduceOp::avg, {.order = ReduceOrder::any}).wait();
    }
    sgd_.step();
    loss_.copy_(loss.detach());
  }
  void keep_loss(int step) { losses_[step].copy_(loss_); }
  [[nodiscard]] at::Tensor losses() const { return losses_.cpu(); }

 private:
  Communicator& ranks_;
  torch::nn::Sequential net_;
  torch::optim::SGD sgd_;
  at::Tensor data_, target_, loss_, losses_, batches_, targets_;
};

struct Result {
  at::Tensor losses;
  double step_seconds = 0;
};

Result run(Communicator& ranks, const Gpu& gpu, c10::Device device, bool as_graph) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  const c10::StreamGuard side(guard.getStreamFromGlobalPool(device));  // the default stream cannot be captured
  Training training(ranks, device);
  for (int step = 0; step < kWarmUp; ++step) {
    training.load(step);
    training.train();
    training.keep_loss(step);
  }
  const auto graph = gpu.device()->libraries().graphs->make_graph();
  wait_for(device);
  if (as_graph) {
    graph->begin_capture();
    training.train();
    graph->end_capture();
  }
  wait_for(device);
  const auto start = Clock::now();
  for (int step = kWarmUp; step < kSteps; ++step) {
    training.load(step);
    as_graph ? graph->replay() : training.train();
    training.keep_loss(step);
  }
  wait_for(device);
  return {training.losses(), seconds_since(start) / (kSteps - kWarmUp)};
}

void measure(Communicator& world) {
  const auto gpu = open_gpu("graph");
  if (!gpu) return;
  at::globalContext().setDeterministicCuDNN(true);
  at::globalContext().setBenchmarkCuDNN(false);
  const c10::Device device = device_of(*gpu);
  Communicator ranks = gpu_communicator(world, *gpu, "bench", GpuTransport::nccl);
  (void)run(ranks, *gpu, device, false);  // warms up libraries
  std::vector<double> eager_ms, graph_ms;
  bool equal = true;
  for (int round = 0; round < 5; ++round) {
    const Result eager = run(ranks, *gpu, device, false), graph = run(ranks, *gpu, device, true);
    eager_ms.push_back(eager.step_seconds * 1e3);
    graph_ms.push_back(graph.step_seconds * 1e3);
    equal = equal && at::equal(eager.losses, graph.losses);
  }
  print({{"bench", "graph"},
         {"gpu", gpu->name()},
         {"eager_ms", median(eager_ms)},
         {"graph_ms", median(graph_ms)},
         {"speedup", median(eager_ms) / median(graph_ms)},
         {"equal_losses", equal},
         {"steps", kSteps}});
  ranks.close();
}

}  // namespace
}  // namespace lockstep::bench

int main() { lockstep::run_local_ranks(1, lockstep::bench::measure); }
