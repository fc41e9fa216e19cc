// SPDX-License-Identifier: Apache-2.0
// Programs that run MPI (or threads) themselves and use only parts of lockstep.
#include <gmock/gmock.h>

#include "lockstep/comm/tree.hpp"
#include "lockstep/lockstep.hpp"
#include "runtime/cases.hpp"

namespace lockstep::testing {
namespace {

namespace nn = torch::nn;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

nn::Linear linear() {
  at::manual_seed(8);
  return nn::Linear(7, 5);
}

at::Tensor input_of(int rank, int round) {
  at::manual_seed(static_cast<std::uint64_t>(100 * round + rank));
  return at::randn({4, 7});
}

at::Tensor loss_of(const at::Tensor& output) { return output.tanh().mean(); }

at::Tensor tree_sum(const std::vector<at::Tensor>& leaves, std::int64_t first, std::int64_t count) {
  if (count == 1) return leaves[static_cast<std::size_t>(first)];
  const std::int64_t left = left_leaves(count);
  return tree_sum(leaves, first, left) + tree_sum(leaves, first + left, count - left);
}

// The mean of all ranks' gradients, where the first `with_backward` have one and the others +0.
at::Tensor expected_gradient(int world_size, int with_backward, int round) {
  std::vector<at::Tensor> leaves;
  for (int rank = 0; rank < world_size; ++rank) {
    nn::Linear net = linear();
    if (rank < with_backward) loss_of(net->forward(input_of(rank, round))).backward();
    leaves.push_back(rank < with_backward ? net->weight.grad() + 0.0 : at::zeros_like(net->weight));
  }
  return tree_sum(leaves, 0, world_size) * (1.0F / static_cast<float>(world_size));
}

void one_backward_a_rank_gives_the_mean_of_the_tree(Communicator& world) {
  Runtime rt(world.duplicate("embedded"));
  nn::Linear net = linear();
  DistributedDataParallel model(rt, net.ptr());
  for (const int round : {0, 1, 2}) {
    net->zero_grad();
    loss_of(model.forward(input_of(rt.rank(), round))).backward();
    EXPECT_TRUE(at::equal(net->weight.grad(), expected_gradient(rt.world_size(), rt.world_size(), round))) << round;
    EXPECT_TRUE(net->bias.grad().defined());
  }
  rt.close();
}

void a_rank_without_a_backward_synchronizes_instead(Communicator& world) {
  Runtime rt(world.duplicate("embedded"));
  nn::Linear net = linear();
  DistributedDataParallel model(rt, net.ptr());
  const int with_backward = std::max(rt.world_size() - 1, 1);
  if (rt.rank() < with_backward) loss_of(model.forward(input_of(rt.rank(), 0))).backward();
  if (rt.rank() >= with_backward) model.synchronize();
  EXPECT_TRUE(at::equal(net->weight.grad(), expected_gradient(rt.world_size(), with_backward, 0)));
  rt.close();
}

// There the step is only known to have begun when the forward pass has changed them already.
void running_statistics_become_the_mean_over_the_ranks(Communicator& world) {
  Runtime rt(world.duplicate("embedded"));
  nn::BatchNorm1d norm(7);
  DistributedDataParallel model(rt, norm.ptr());
  at::Tensor expected = at::zeros({7});
  for (const int round : {0, 1}) {
    norm->zero_grad();
    loss_of(model.forward(input_of(rt.rank(), round))).backward();
    at::Tensor mean = at::zeros({7});
    for (int rank = 0; rank < rt.world_size(); ++rank) mean += input_of(rank, round).mean(0) / rt.world_size();
    expected = 0.9 * expected + 0.1 * mean;
    EXPECT_TRUE(at::allclose(norm->running_mean, expected, 1e-4, 1e-6)) << "round " << round;
    EXPECT_EQ(norm->num_batches_tracked.item<std::int64_t>(), round + 1);
  }
  rt.close();
}

// It would sum up nothing into the gradients that are there.
void synchronizing_after_a_backward_is_refused(Communicator& world) {
  Runtime rt(world.duplicate("embedded"));
  nn::Linear net = linear();
  DistributedDataParallel model(rt, net.ptr());
  loss_of(model.forward(input_of(rt.rank(), 0))).backward();
  EXPECT_THAT([&] { model.synchronize(); }, ThrowsMessage<UsageError>(HasSubstr("the gradient of ")));
  EXPECT_TRUE(at::equal(net->weight.grad(), expected_gradient(rt.world_size(), rt.world_size(), 0)));
  rt.close();
}

// PyTorch would add the new gradient to the mean of the last step, and then average the sum.
void a_stale_gradient_is_refused_outside_of_a_loop_too(Communicator& world) {
  Runtime rt(world.duplicate("embedded"));
  nn::Linear net = linear();
  DistributedDataParallel model(rt, net.ptr());
  loss_of(model.forward(input_of(rt.rank(), 0))).backward();
  EXPECT_THAT([&] { loss_of(model.forward(input_of(rt.rank(), 1))).backward(); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("the gradient of "), HasSubstr("zero_grad()"))));
  world.barrier();
}

void ranges_of_uneven_length_end_together(Communicator& world) {
  Runtime rt(world.duplicate("embedded"));
  nn::Linear net = linear();
  DistributedDataParallel model(rt, net.ptr());
  std::vector<at::Tensor> batches(static_cast<std::size_t>(2 + rt.rank()), input_of(rt.rank(), 0));
  TrainState state;
  std::vector<std::int64_t> epochs;
  for (auto& step : rt.steps(state, batches)) {
    net->zero_grad();
    for (const at::Tensor& batch : step.micro_batches()) loss_of(model.forward(batch)).backward();
    EXPECT_TRUE(at::equal(net->weight.grad(), expected_gradient(rt.world_size(), rt.world_size(), 0)));
    epochs.push_back(step.epoch());
  }
  // Rank 0 has 2 batches, and the default is 5 epochs.
  EXPECT_THAT(epochs, ::testing::ElementsAre(0, 0, 1, 1, 2, 2, 3, 3, 4, 4));
  rt.close();
}

void an_empty_range_on_one_rank_ends_the_loop_on_all(Communicator& world) {
  Runtime rt(world.duplicate("embedded"));
  nn::Linear net = linear();
  const DistributedDataParallel model(rt, net.ptr());
  std::vector<at::Tensor> batches;
  if (rt.rank() > 0) batches.push_back(input_of(rt.rank(), 0));
  TrainState state;
  std::int64_t steps = 0;
  for (auto& step : rt.steps(state, batches)) steps += 1 + step.index();
  EXPECT_EQ(steps, 0);
  rt.close();
}

}  // namespace

std::vector<RuntimeCase> embedded_cases() {
#define CASE(name) \
  { #name, name }
  return {
      CASE(one_backward_a_rank_gives_the_mean_of_the_tree),    CASE(a_rank_without_a_backward_synchronizes_instead),
      CASE(running_statistics_become_the_mean_over_the_ranks), CASE(synchronizing_after_a_backward_is_refused),
      CASE(a_stale_gradient_is_refused_outside_of_a_loop_too), CASE(ranges_of_uneven_length_end_together),
      CASE(an_empty_range_on_one_rank_ends_the_loop_on_all),
  };
#undef CASE
}

}  // namespace lockstep::testing
