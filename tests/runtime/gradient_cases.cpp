// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstring>

#include "lockstep/lockstep.hpp"
#include "runtime/cases.hpp"
#include "runtime/job.hpp"
#include "runtime/probe.hpp"
#include "seeds.hpp"

namespace lockstep::testing {
namespace {

namespace nn = torch::nn;

RuntimeOptions options_in(const SharedFolder& folder, std::int64_t steps) {
  RuntimeOptions options;
  options.run_dir = folder.path();
  options.max_steps = steps;
  options.epochs = 100;
  options.global_batch = 10;
  options.checkpoint_every_steps = 0;
  return options;
}

// One sum over the samples of a step, as LibTorch alone would do it.
Batch global_batch(std::int64_t samples) {
  DataLoader loader(probe_data(), {.global_batch = samples});
  return loader.next().micro_batches[0].batch;
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  Fingerprint both;
  add_bits(both, "", a);
  add_bits(both, "", b);
  return both[0].bits == both[1].bits;
}

nn::Sequential small_net() {
  at::manual_seed(3);
  return nn::Sequential(nn::Flatten(), nn::Linear(64, 16), nn::Tanh(), nn::Linear(16, kProbeClasses));
}

void one_micro_batch_has_the_bits_of_plain_libtorch(Communicator& world) {
  if (world.world_size() > 1) return;
  const SharedFolder folder(world);
  Job job(world, options_in(folder, 1));
  const ProbeNet net = make_probe_net();
  ProbeNet bare = make_probe_net();
  DistributedDataParallel model(job.runtime(), net.ptr());
  DataLoader loader(probe_data(), job.runtime().loader_options());
  TrainState state;
  for (auto& step : job.runtime().steps(state, loader)) {
    for (const Batch& batch : step.micro_batches()) {
      loss_of(model.forward(batch), batch).backward();
      at::manual_seed(micro_batch_seed(0, 0, 0));
      loss_of(bare->forward(batch), batch).backward();
    }
    for (const auto& item : net->named_parameters()) {
      const at::Tensor& expected = bare->named_parameters()[item.key()].grad();
      ASSERT_EQ(item.value().grad().defined(), expected.defined()) << item.key();
      if (!expected.defined()) continue;
      EXPECT_TRUE(same_bits(item.value().grad(), expected + 0.0)) << item.key();  // −0 becomes +0
    }
    for (const auto& item : net->named_buffers()) {
      EXPECT_TRUE(same_bits(item.value(), bare->named_buffers()[item.key()])) << item.key();
    }
  }
}

// Micro-batches of unequal size weigh by their samples. The tolerance is float32's rounding of another order of sums.
void micro_batches_add_up_to_the_gradient_of_the_whole_batch(Communicator& world) {
  const SharedFolder folder(world);
  RuntimeOptions options = options_in(folder, 1);
  options.micro_batches = 4;  // of 2, 3, 2 and 3 samples
  Job job(world, options);
  nn::Sequential net = small_net();
  nn::Sequential whole = small_net();
  DistributedDataParallel model(job.runtime(), net.ptr());
  DataLoader loader(probe_data(), job.runtime().loader_options());
  TrainState state;
  for (auto& step : job.runtime().steps(state, loader)) {
    for (const Batch& batch : step.micro_batches()) {
      loss_of(model.forward(batch.data), batch).backward();
      for (const at::Tensor& parameter : net->parameters()) {
        EXPECT_FALSE(parameter.grad().defined()) << "nothing is there before the step's last micro-batch has ended";
      }
    }
    const Batch batch = global_batch(10);
    loss_of(whole->forward(batch.data), batch).backward();
    for (const auto& item : net->named_parameters()) {
      const at::Tensor& expected = whole->named_parameters()[item.key()].grad();
      const double error = (item.value().grad() - expected).norm().item<double>();
      EXPECT_LT(error, 1e-6 * expected.norm().item<double>()) << item.key();
    }
  }
}

// A net of which a micro-batch may use one or two parts.
struct BranchesImpl : nn::Module {
  BranchesImpl() {
    at::manual_seed(4);
    always = register_module("always", nn::Linear(3, 2));
    sometimes = register_module("sometimes", nn::Linear(3, 2));
    never = register_module("never", nn::Linear(3, 2));
  }
  at::Tensor forward(const at::Tensor& x, bool both) {
    return both ? always->forward(x) + sometimes->forward(x) : always->forward(x);
  }
  nn::Linear always{nullptr}, sometimes{nullptr}, never{nullptr};
};

void a_parameter_that_one_rank_uses_has_a_gradient_on_all(Communicator& world) {
  const SharedFolder folder(world);
  Job job(world, options_in(folder, 1));
  Runtime& rt = job.runtime();
  const auto net = std::make_shared<BranchesImpl>();
  DistributedDataParallel model(rt, net);
  std::vector<at::Tensor> batches{at::ones({2, 3})};
  TrainState state;
  const int last = rt.world_size() - 1;
  for (auto& step : rt.steps(state, batches)) {
    for (const at::Tensor& x : step.micro_batches()) model.forward(x, rt.rank() == last).sum().backward();
    EXPECT_TRUE(at::equal(net->always->bias.grad(), at::full({2}, 2.0)));
    ASSERT_TRUE(net->sometimes->bias.grad().defined());
    EXPECT_TRUE(at::allclose(net->sometimes->bias.grad(), at::full({2}, 2.0 / rt.world_size())));
    EXPECT_FALSE(net->never->bias.grad().defined());
  }
}

// Optimizers and kernels pick their path by strides and alignment, and bits with it.
void a_gradient_has_its_parameters_strides_and_is_aligned(Communicator& world) {
  const SharedFolder folder(world);
  RuntimeOptions options = options_in(folder, 1);
  options.micro_batches = 4;
  Job job(world, options);
  at::manual_seed(6);
  nn::Sequential net(nn::Conv2d(nn::Conv2dOptions(1, 3, 3)), nn::Conv2d(nn::Conv2dOptions(3, 5, 3)), nn::Flatten(),
                     nn::Linear(80, kProbeClasses));
  at::Tensor weight = net->parameters()[2];  // [5, 3, 3, 3]
  weight.set_data(weight.contiguous(at::MemoryFormat::ChannelsLast));
  DistributedDataParallel model(job.runtime(), net.ptr());
  DataLoader loader(probe_data(), job.runtime().loader_options());
  TrainState state;
  for (auto& step : job.runtime().steps(state, loader)) {
    for (const Batch& batch : step.micro_batches()) loss_of(model.forward(batch.data), batch).backward();
    for (const auto& item : net->named_parameters()) {
      const at::Tensor& gradient = item.value().grad();
      EXPECT_EQ(gradient.strides(), item.value().strides()) << item.key();
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(gradient.const_data_ptr()) % 64, 0U) << item.key();
    }
    nn::Sequential whole(std::dynamic_pointer_cast<nn::SequentialImpl>(net->clone()));
    const Batch batch = global_batch(10);
    whole->zero_grad();
    loss_of(whole->forward(batch.data), batch).backward();
    EXPECT_TRUE(at::allclose(weight.grad(), whole->parameters()[2].grad(), 1e-4, 1e-6));
  }
}

// The gradient of parameters of several dtypes (and so in several buckets) after a step of one sample a rank, all
// alike.
void a_gradient_has_its_parameters_dtype(Communicator& world) {
  const SharedFolder folder(world);
  Job job(world, options_in(folder, 1));
  nn::Sequential net(nn::Linear(3, 2), nn::Linear(3, 2), nn::Linear(3, 2));
  const at::ScalarType dtypes[] = {at::kDouble, at::kBFloat16, at::kFloat};
  for (std::size_t i = 0; i < 3; ++i) net[i]->to(dtypes[i]);
  const DistributedDataParallel model(job.runtime(), net.ptr());
  std::vector<at::Tensor> batches{at::full({1, 3}, 0.5)};
  TrainState state;
  for (auto& step : job.runtime().steps(state, batches)) {
    for (const at::Tensor& x : step.micro_batches()) {
      at::Tensor loss = at::zeros({}, at::kDouble);
      for (std::size_t i = 0; i < 3; ++i) loss = loss + net[i]->as<nn::Linear>()->forward(x.to(dtypes[i])).sum();
      loss.backward();
    }
    for (std::size_t i = 0; i < 3; ++i) {
      const at::Tensor& gradient = net[i]->as<nn::Linear>()->weight.grad();
      EXPECT_EQ(gradient.scalar_type(), dtypes[i]);
      EXPECT_TRUE(at::allclose(gradient.to(at::kDouble), at::full({2, 3}, 0.5, at::kDouble)));
    }
  }
}

// Two names, one tensor, as where an embedding is the last layer too.
void a_parameter_with_two_names_has_one_gradient(Communicator& world) {
  const SharedFolder folder(world);
  Job job(world, options_in(folder, 1));
  const nn::Linear shared(3, 3);
  nn::Sequential net(shared, shared);
  const DistributedDataParallel model(job.runtime(), net.ptr());
  std::vector<at::Tensor> batches{at::ones({1, 3})};
  TrainState state;
  for (auto& step : job.runtime().steps(state, batches)) {
    for (const at::Tensor& x : step.micro_batches()) net->forward(x).sum().backward();
  }
  const at::Tensor gradient = shared->weight.grad().clone();
  const at::Tensor expected = torch::autograd::grad({net->forward(at::ones({1, 3})).sum()}, {shared->weight})[0];
  EXPECT_TRUE(at::allclose(gradient, expected));
}

void zeroed_gradients_start_a_step_like_absent_ones(Communicator& world) {
  const auto train = [&](bool set_to_none) {
    const SharedFolder folder(world);
    Job job(world, options_in(folder, 3));
    nn::Sequential net = small_net();
    DistributedDataParallel model(job.runtime(), net.ptr());
    torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
    DataLoader loader(probe_data(), job.runtime().loader_options());
    TrainState state;
    for (auto& step : job.runtime().steps(state, loader)) {
      optimizer.zero_grad(set_to_none);
      for (const Batch& batch : step.micro_batches()) loss_of(model.forward(batch.data), batch).backward();
      optimizer.step();
    }
    return net->parameters();
  };
  const auto absent = train(true);
  const auto zeroed = train(false);
  for (std::size_t i = 0; i < absent.size(); ++i) EXPECT_TRUE(same_bits(zeroed[i], absent[i])) << "parameter " << i;
}

void every_rank_starts_with_the_weights_of_rank_0(Communicator& world) {
  const SharedFolder folder(world);
  Job job(world, options_in(folder, 1));
  at::manual_seed(static_cast<std::uint64_t>(world.rank()));
  nn::BatchNorm1d norm(2);
  norm->running_mean.fill_(world.rank());
  nn::Sequential net(nn::Linear(4, 2), norm);
  const DistributedDataParallel model(job.runtime(), net.ptr());
  at::manual_seed(0);
  EXPECT_TRUE(same_bits(net->parameters()[0], nn::Linear(4, 2)->weight));
  EXPECT_TRUE(at::equal(norm->running_mean, at::zeros({2})));
}

void running_statistics_become_the_mean_over_the_micro_batches(Communicator& world) {
  const SharedFolder folder(world);
  RuntimeOptions options = options_in(folder, 1);
  options.micro_batches = 4;
  options.global_batch = 3;  // one micro-batch is empty and does not count
  Job job(world, options);
  const nn::BatchNorm2d norm(1);
  const nn::Sequential net(norm, nn::Flatten(), nn::Linear(64, kProbeClasses));
  DistributedDataParallel model(job.runtime(), net.ptr());
  DataLoader loader(probe_data(), job.runtime().loader_options());
  TrainState state;
  for (auto& step : job.runtime().steps(state, loader)) {
    for (const Batch& batch : step.micro_batches()) loss_of(model.forward(batch.data), batch).backward();
  }
  at::Tensor expected = at::zeros({1});
  const Batch samples = global_batch(3);
  for (const at::Tensor& sample : samples.data.split(1)) {
    nn::BatchNorm2d alone(1);
    alone->forward(sample);
    expected += alone->running_var / 3;
  }
  EXPECT_TRUE(at::allclose(norm->running_var, expected)) << norm->running_var << " in place of " << expected;
  EXPECT_EQ(norm->num_batches_tracked.item<std::int64_t>(), 1);
}

// Averaging what no micro-batch has changed would change its bits.
void a_buffer_that_no_micro_batch_changes_keeps_its_bits(Communicator& world) {
  const SharedFolder folder(world);
  RuntimeOptions options = options_in(folder, 2);
  options.micro_batches = 4;
  options.global_batch = 3;  // one micro-batch is empty
  Job job(world, options);
  nn::Sequential net = small_net();
  const at::Tensor constant = at::tensor({0.1F, -0.0F, 1e-40F});
  const at::Tensor buffer = net->register_buffer("constant", constant.clone());
  DistributedDataParallel model(job.runtime(), net.ptr());
  DataLoader loader(probe_data(), job.runtime().loader_options());
  TrainState state;
  for (auto& step : job.runtime().steps(state, loader)) {
    net->zero_grad();
    for (const Batch& batch : step.micro_batches()) loss_of(model.forward(batch.data), batch).backward();
  }
  EXPECT_TRUE(same_bits(buffer, constant));
}

}  // namespace

std::vector<RuntimeCase> gradient_cases() {
#define CASE(name) \
  { #name, name }
  return {
      CASE(one_micro_batch_has_the_bits_of_plain_libtorch),
      CASE(micro_batches_add_up_to_the_gradient_of_the_whole_batch),
      CASE(a_parameter_that_one_rank_uses_has_a_gradient_on_all),
      CASE(a_gradient_has_its_parameters_strides_and_is_aligned),
      CASE(a_gradient_has_its_parameters_dtype),
      CASE(a_parameter_with_two_names_has_one_gradient),
      CASE(zeroed_gradients_start_a_step_like_absent_ones),
      CASE(every_rank_starts_with_the_weights_of_rank_0),
      CASE(running_statistics_become_the_mean_over_the_micro_batches),
      CASE(a_buffer_that_no_micro_batch_changes_keeps_its_bits),
  };
#undef CASE
}

}  // namespace lockstep::testing
