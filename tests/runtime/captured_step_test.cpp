// SPDX-License-Identifier: Apache-2.0
// What CapturedStep decides. The graphs here record nothing: what is captured runs at once, and a replay does nothing.
#include "lockstep/runtime/captured_step.hpp"

#include <gmock/gmock.h>

#include "gpu/device.hpp"
#include "gpu/graph_api.hpp"
#include "lockstep/comm/local.hpp"
#include "lockstep/lockstep.hpp"
#include "runtime/job.hpp"
#include "runtime/probe.hpp"
#include "runtime_impl.hpp"
#include "support/fake_gpu/fake_gpu.hpp"

namespace lockstep::testing {
namespace {

struct Counts {
  int captures = 0;
  int replays = 0;
  int forwards = 0;
};

class CountingGraphs final : public comm::gpu::GraphApi {
 public:
  explicit CountingGraphs(Counts& counts) : counts_(counts) {}
  std::unique_ptr<comm::gpu::Graph> make_graph() override { return std::make_unique<Graph>(counts_); }

 private:
  class Graph final : public comm::gpu::Graph {
   public:
    explicit Graph(Counts& counts) : counts_(counts) {}
    void begin_capture() override { ++counts_.captures; }
    void end_capture() override {}
    void replay() override { ++counts_.replays; }

   private:
    Counts& counts_;
  };
  Counts& counts_;
};

struct Setting {
  int world_size = 1;
  bool on_gpu = true;
  int micro_batches = 1;
  std::int64_t global_batch = 4;
  std::int64_t max_steps = 5;
};

using AfterStep = std::function<void(Runtime&, torch::nn::Linear&, torch::optim::Optimizer&)>;

// Trains a small net with CapturedStep; what rank 0 counted.
template <class Optimizer>
Counts train(
    const Setting& setting, const AfterStep& after_step = [](auto&&...) {}) {
  std::vector<Counts> counts(static_cast<std::size_t>(setting.world_size));
  test::FakeGpus gpus(setting.world_size);
  gpus.run_default_streams_on_caller();
  run_local_ranks(setting.world_size, [&](Communicator& world) {
    Counts& own = counts[static_cast<std::size_t>(world.rank())];
    CountingGraphs graphs(own);
    comm::gpu::Libraries libraries = gpus.libraries(world.rank());
    libraries.graphs = &graphs;
    const SharedFolder folder(world);
    RuntimeOptions options;
    options.run_dir = folder.path();
    options.max_steps = setting.max_steps;
    options.epochs = 100;
    options.global_batch = setting.global_batch;
    options.micro_batches = setting.micro_batches;
    options.checkpoint_every_steps = 0;
    Job job(world, options);
    Runtime& rt = job.runtime();
    if (setting.on_gpu) rt.impl().use_gpu(Gpu(std::make_shared<comm::gpu::Device>(libraries, 0)));
    {
      torch::nn::Linear net(64, kProbeClasses);
      DistributedDataParallel model(rt, net.ptr());
      Optimizer optimizer(net->parameters(), 0.1);
      DataLoader loader(probe_data(), rt.loader_options());
      TrainState state;
      state.add("model", net.ptr()).add("loader", loader);
      CapturedStep train_step(rt, optimizer, [&](const Batch& batch) {
        ++own.forwards;
        return loss_of(model.forward(batch.data.flatten(1)), batch);
      });
      for (auto& step : rt.steps(state, loader)) {
        train_step(step);
        after_step(rt, net, optimizer);
      }
    }
    rt.close();
  });
  return counts[0];
}

using torch::optim::Adam;
using torch::optim::SGD;

TEST(CapturedStep, records_the_fourth_step_and_replays_it_from_then_on) {
  const Counts counts = train<SGD>({.max_steps = 5});
  EXPECT_EQ(counts.captures, 1);
  EXPECT_EQ(counts.replays, 2);
  EXPECT_EQ(counts.forwards, 4);
}

TEST(CapturedStep, does_so_on_all_ranks) {
  const Counts counts = train<SGD>({.world_size = 2, .micro_batches = 2, .max_steps = 5});
  EXPECT_EQ(counts.replays, 2);
}

TEST(CapturedStep, records_nothing_on_the_cpu) {
  const Counts counts = train<SGD>({.on_gpu = false});
  EXPECT_EQ(counts.captures, 0);
  EXPECT_EQ(counts.forwards, 5);
}

TEST(CapturedStep, records_nothing_where_a_rank_has_several_micro_batches) {
  EXPECT_EQ(train<SGD>({.micro_batches = 2}).captures, 0);
}

// 23 samples: steps of 10, 10, 3, and again.
TEST(CapturedStep, runs_a_step_of_another_size_as_usual) {
  const Counts counts = train<SGD>({.global_batch = 10, .max_steps = 8});
  EXPECT_EQ(counts.captures, 1);
  EXPECT_EQ(counts.replays, 3);   // of steps 5, 7 and 8: the third does not count, the sixth is short, too
  EXPECT_EQ(counts.forwards, 6);
}

TEST(CapturedStep, has_gradients_behind_every_replay) {
  train<Adam>({.max_steps = 6}, [](Runtime&, torch::nn::Linear& net, torch::optim::Optimizer&) {
    EXPECT_TRUE(net->weight.grad().defined());
    EXPECT_TRUE(net->bias.grad().defined());
  });
}

TEST(CapturedStep, leaves_an_optimizer_that_counts_on_the_host_outside) {
  std::vector<at::Tensor> weights;
  const AfterStep keep = [&](Runtime&, torch::nn::Linear& net, torch::optim::Optimizer&) {
    weights.push_back(net->weight.detach().clone());
  };
  train<Adam>({.max_steps = 5}, keep);
  EXPECT_FALSE(weights[4].equal(weights[3]));  // by Adam, after a replay that does nothing
  weights.clear();
  train<SGD>({.max_steps = 5}, keep);
  EXPECT_TRUE(weights[4].equal(weights[3]));  // SGD is in the graph
}

TEST(CapturedStep, records_again_without_the_optimizer_when_its_learning_rate_changes) {
  int steps = 0;
  const Counts counts =
      train<SGD>({.max_steps = 8}, [&](Runtime&, torch::nn::Linear&, torch::optim::Optimizer& optimizer) {
        if (++steps >= 5) optimizer.param_groups()[0].options().set_lr(0.1 / steps);
      });
  EXPECT_EQ(counts.captures, 2);
}

}  // namespace
}  // namespace lockstep::testing
