// SPDX-License-Identifier: Apache-2.0
// The runtime over device communicators: the memory of the fake GPUs is that of LibTorch's CPU tensors.
#include <gmock/gmock.h>

#include <mutex>

#include "gpu/device.hpp"
#include "lockstep/comm/local.hpp"
#include "lockstep/lockstep.hpp"
#include "runtime/job.hpp"
#include "runtime/probe.hpp"
#include "runtime_impl.hpp"
#include "support/fake_gpu/fake_gpu.hpp"

namespace lockstep::testing {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int kMicroBatches = 4;

RuntimeOptions options_of_probe(const std::string& folder) {
  RuntimeOptions options;
  options.run_dir = folder;
  options.max_steps = 4;
  options.epochs = 100;
  options.global_batch = 10;  // of 23 samples: micro-batches of unequal size, and a short step
  options.micro_batches = kMicroBatches;
  options.bucket_bytes = 65'536;
  options.checkpoint_every_steps = 2;
  return options;
}

// Its random generator is all threads', so: without dropout.
ProbeNet make_net_without_dropout() {
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  ProbeNet net = make_probe_net();
  net->named_children()["dropout"]->eval();
  return net;
}

void add_step(Fingerprint& fingerprint, const torch::nn::Module& net) {
  for (const auto& item : net.named_parameters()) add_bits(fingerprint, item.key() + ".grad", item.value().grad());
  for (const auto& item : net.named_parameters()) add_bits(fingerprint, item.key(), item.value());
  for (const auto& item : net.named_buffers()) add_bits(fingerprint, item.key(), item.value());
}

// Collective. The bits of the run; without `gpus` on the CPU.
Fingerprint train(Communicator& world, test::FakeGpus* gpus) {
  at::set_num_threads(1);  // of this thread
  const SharedFolder folder(world);
  Job job(world, options_of_probe(folder.path()));
  Runtime& rt = job.runtime();
  if (gpus != nullptr) {
    rt.impl().use_gpu(Gpu(std::make_shared<comm::gpu::Device>(gpus->libraries(world.rank()), 0)));
  }
  Fingerprint fingerprint;
  {
    const ProbeNet net = make_net_without_dropout();
    DistributedDataParallel model(rt, net.ptr());
    torch::optim::AdamW optimizer(net->parameters());
    DataLoader loader(probe_data(), rt.loader_options());
    TrainState state;
    state.add("model", net.ptr()).add("optimizer", optimizer).add("loader", loader);
    for (auto& step : rt.steps(state, loader)) {
      optimizer.zero_grad();
      for (const Batch& batch : step.micro_batches()) loss_of(model.forward(batch), batch).backward();
      add_step(fingerprint, *net);
      optimizer.step();
    }
  }
  rt.close();
  return fingerprint;
}

Fingerprint on_the_cpu() {
  Fingerprint reference;
  run_local_ranks(1, [&](Communicator& alone) { reference = train(alone, nullptr); });
  return reference;
}

void expect_the_bits_of_the_cpu(test::FakeGpus& gpus, int world_size) {
  const Fingerprint expected = on_the_cpu();
  gpus.run_default_streams_on_caller();
  run_local_ranks(world_size, [&](Communicator& world) {
    EXPECT_EQ(first_difference(train(world, &gpus), expected), "") << "rank " << world.rank() << " of " << world_size;
  });
}

TEST(RuntimeOnGpus, over_nccl_has_the_bits_of_the_cpu) {
  for (const int world_size : {1, 2, 3}) {
    test::FakeGpus gpus(world_size);
    expect_the_bits_of_the_cpu(gpus, world_size);
    EXPECT_THAT(gpus.nccl_calls(0), Contains(StartsWith("init")));
  }
}

TEST(RuntimeOnGpus, through_the_host_has_the_bits_of_the_cpu) {
  test::FakeGpus gpus(2);
  gpus.remove_nccl(1);
  expect_the_bits_of_the_cpu(gpus, 2);
  EXPECT_THAT(gpus.nccl_calls(0), Each(Not(StartsWith("all_reduce"))));
}

TEST(RuntimeOnGpus, a_checkpoint_names_the_device) {
  test::FakeGpus gpus(1);
  gpus.run_default_streams_on_caller();
  run_local_ranks(1, [&](Communicator& world) {
    Runtime rt(world.duplicate("world"));
    EXPECT_EQ(rt.impl().determinism.device, "cpu");
    rt.impl().use_gpu(Gpu(std::make_shared<comm::gpu::Device>(gpus.libraries(0), 0)));
    EXPECT_EQ(rt.impl().determinism.device, "Fake GPU");
  });
}

// What a step queues must not make the host wait: cudaMalloc and cudaFree would.
TEST(RuntimeOnGpus, steps_wait_for_no_device_once_their_memory_is_there) {
  test::FakeGpus gpus(2);
  gpus.run_default_streams_on_caller();
  run_local_ranks(2, [&](Communicator& world) {
    Runtime rt(world.duplicate("world"));
    rt.impl().use_gpu(Gpu(std::make_shared<comm::gpu::Device>(gpus.libraries(world.rank()), 0)));
    {
      torch::nn::Linear net(8, 3);
      DistributedDataParallel model(rt, net.ptr());
      int waits = 0;
      for (int step = 0; step < 6; ++step) {
        if (step == 3) waits = gpus.host_waits(world.rank());
        net->zero_grad();
        model.forward(at::ones({4, 8})).sum().backward();
      }
      EXPECT_EQ(gpus.host_waits(world.rank()), waits);
    }
    rt.close();
  });
}

}  // namespace
}  // namespace lockstep::testing
