// SPDX-License-Identifier: Apache-2.0
#include <ATen/Context.h>
#include <gmock/gmock.h>
#include <torch/nn.h>
#include <torch/optim/sgd.h>

#include "gpu/cuda_calls.hpp"
#include "gpu/gpu_ranks.hpp"
#include "lockstep/lockstep.hpp"
#include "runtime/job.hpp"
#include "runtime/probe.hpp"
#include "support/rank_world.hpp"

namespace lockstep::testing {
namespace {

// A convolution, batch statistics and a layer that has a bucket of its own.
class GpuNetImpl : public torch::nn::Module {
 public:
  GpuNetImpl()
      : conv_(register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 4, 3).padding(1)))),
        norm_(register_module("norm", torch::nn::BatchNorm2d(4))),
        fc1_(register_module("fc1", torch::nn::Linear(256, 320))),
        fc2_(register_module("fc2", torch::nn::Linear(320, kProbeClasses))) {}
  at::Tensor forward(const at::Tensor& images) {  // [n, 1, 8, 8] → [n, 10]
    return fc2_(at::relu(fc1_(at::relu(norm_(conv_(images))).flatten(1))));
  }

 private:
  torch::nn::Conv2d conv_;
  torch::nn::BatchNorm2d norm_;
  torch::nn::Linear fc1_, fc2_;
};

std::shared_ptr<GpuNetImpl> make_net(c10::Device device) {
  at::manual_seed(5);
  auto net = std::make_shared<GpuNetImpl>();
  net->to(device);
  return net;
}

RuntimeOptions options_in(const std::string& run_dir, std::int64_t steps) {
  RuntimeOptions options;
  options.run_dir = run_dir;
  options.device = "cuda";
  options.epochs = 100;
  options.max_steps = steps;
  options.global_batch = 10;
  options.micro_batches = 4;
  options.bucket_bytes = 65'536;
  options.checkpoint_every_steps = 0;
  options.log_every_steps = 1000;
  return options;
}

// The bits of parameters and buffers after every step.
Fingerprint train(Communicator& ranks) {
  const SharedFolder folder(ranks);
  Job job(ranks, options_in(folder.path(), 6));
  Runtime& rt = job.runtime();
  const auto net = make_net(rt.device());
  DistributedDataParallel<GpuNetImpl> model(rt, net);
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
  DataLoader loader(probe_data(), rt.loader_options());
  TrainState state;
  state.add("model", net).add("optimizer", optimizer).add("loader", loader);
  Fingerprint bits;
  for (auto& step : rt.steps(state, loader)) {
    optimizer.zero_grad();
    for (const Batch& batch : step.micro_batches()) {
      const at::Tensor scores = model.forward(batch.data.to(rt.device()));
      at::cross_entropy_loss(scores, batch.target.to(rt.device())).backward();
    }
    optimizer.step();
    for (const auto& parameter : net->named_parameters()) add_bits(bits, parameter.key(), parameter.value().cpu());
    for (const auto& buffer : net->named_buffers()) add_bits(bits, buffer.key(), buffer.value().cpu());
  }
  rt.close();
  return bits;
}

class GpuTraining : public GpuRanks {
 protected:
  void SetUp() override {
    GpuRanks::SetUp();
    at::globalContext().setDeterministicCuDNN(true);
    at::globalContext().setBenchmarkCuDNN(false);
  }
};

TEST_F(GpuTraining, has_the_bits_of_one_rank) {
  std::optional<Communicator> alone = world("shm").split(world().rank(), 0, "alone");
  ASSERT_TRUE(alone);
  const Fingerprint expected = train(*alone);
  EXPECT_EQ(first_difference(train(world("shm")), expected), "");
  alone->close();
}

TEST_F(GpuTraining, has_the_same_bits_again) {
  EXPECT_EQ(first_difference(train(world("shm")), train(world("shm"))), "");
}

// The control of the next test: its counters see a wait and a copy.
TEST_F(GpuTraining, reading_a_number_is_counted_as_a_wait_and_a_copy) {
  const at::Tensor tensor = at::ones({}, at::TensorOptions().device(rank_device()));
  const CudaCalls before = cuda_calls();
  (void)tensor.item<float>();
  EXPECT_GT(cuda_calls().host_waits, before.host_waits);
  EXPECT_GT(cuda_calls().copies_to_host, before.copies_to_host);
}

TEST_F(GpuTraining, does_not_wait_for_the_device_in_steps_that_do_not_log) {
  const SharedFolder folder(world("shm"));
  RuntimeOptions options = options_in(folder.path(), 20);
  options.micro_batches = 0;
  Job job(world("shm"), options);
  Runtime& rt = job.runtime();
  const auto net = make_net(rt.device());
  DistributedDataParallel<GpuNetImpl> model(rt, net);
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
  std::vector<Batch> batches(1);
  batches[0].data = at::randn({5, 1, 8, 8}).to(rt.device());
  batches[0].target = at::randint(kProbeClasses, {5}, at::TensorOptions().dtype(at::kLong)).to(rt.device());
  TrainState state;
  state.add("model", net).add("optimizer", optimizer);
  CudaCalls before, after;
  for (auto& step : rt.steps(state, batches)) {
    if (step.index() == 8) before = cuda_calls();  // the first steps connect and allocate
    if (step.index() == 18) after = cuda_calls();
    optimizer.zero_grad();
    for (const Batch& batch : step.micro_batches()) {
      const at::Tensor loss = at::cross_entropy_loss(model.forward(batch.data), batch.target);
      loss.backward();
      step.log("loss", loss);
    }
    optimizer.step();
  }
  EXPECT_EQ(after.host_waits - before.host_waits, 0);
  EXPECT_EQ(after.copies_to_host - before.copies_to_host, 0);
  rt.close();
}

}  // namespace
}  // namespace lockstep::testing
