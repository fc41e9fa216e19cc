// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "lockstep/lockstep.hpp"
#include "runtime/cases.hpp"
#include "runtime/job.hpp"

namespace lockstep::testing {
namespace {

namespace nn = torch::nn;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// What a program with a mistake has: a net, and one batch a rank for ever.
struct Program {
  explicit Program(Communicator& world, std::shared_ptr<nn::SequentialImpl> given)
      : folder(world), job(world, options_in(folder)), net(std::move(given)), model(job.runtime(), net) {}

  static RuntimeOptions options_in(const SharedFolder& folder) {
    RuntimeOptions options;
    options.run_dir = folder.path();
    options.max_steps = 3;
    options.epochs = 100;
    return options;
  }
  [[nodiscard]] auto steps() { return job.runtime().steps(state, batches); }
  at::Tensor loss(const at::Tensor& x) { return model.forward(x).sum(); }

  SharedFolder folder;
  Job job;
  std::shared_ptr<nn::SequentialImpl> net;
  DistributedDataParallel<nn::SequentialImpl> model;
  TrainState state;
  std::vector<at::Tensor> batches{at::ones({2, 3})};
};

std::shared_ptr<nn::SequentialImpl> linear_net() {
  return std::make_shared<nn::SequentialImpl>(nn::Linear(3, 4), nn::Linear(4, 2));
}

void a_gradient_left_over_from_the_step_before_is_refused(Communicator& world) {
  Program program(world, linear_net());
  const auto train = [&] {
    for (auto& step : program.steps()) {
      for (const at::Tensor& x : step.micro_batches()) program.loss(x).backward();
    }
  };
  EXPECT_THAT(train, ThrowsMessage<UsageError>(AllOf(HasSubstr("0.weight"), HasSubstr("zero_grad()"))));
  world.barrier();
}

void a_second_backward_after_the_launch_is_refused(Communicator& world) {
  Program program(world, linear_net());
  const auto train = [&] {
    for (auto& step : program.steps()) {
      for (const at::Tensor& x : step.micro_batches()) {
        program.loss(x).backward();
        program.loss(x).backward();
      }
    }
  };
  EXPECT_THAT(train, ThrowsMessage<UsageError>(AllOf(HasSubstr("1.bias"), HasSubstr("backward once"))));
  world.barrier();
}

void a_sparse_gradient_is_refused_by_name(Communicator& world) {
  Program program(world, std::make_shared<nn::SequentialImpl>(nn::Embedding(nn::EmbeddingOptions(5, 3).sparse(true)),
                                                              nn::Linear(3, 2)));
  program.batches = {at::ones({2}, at::kLong)};
  const auto train = [&] {
    for (auto& step : program.steps()) {
      for (const at::Tensor& x : step.micro_batches()) program.loss(x).backward();
    }
  };
  EXPECT_THAT(train, ThrowsMessage<UsageError>(AllOf(HasSubstr("0.weight"), HasSubstr("sparse(false)"))));
  world.barrier();
}

void leaving_the_micro_batches_early_ends_the_next_step(Communicator& world) {
  Program program(world, linear_net());
  const auto train = [&] {
    for (auto& step : program.steps()) {
      for (const at::Tensor& x : step.micro_batches()) {
        program.loss(x).backward();
        break;
      }
    }
  };
  EXPECT_THAT(train, ThrowsMessage<UsageError>(AllOf(HasSubstr("step 0"), HasSubstr("step.micro_batches()"))));
  world.barrier();
}

// The same mistake with a break out of both loops, and another loop after it.
void a_loop_after_an_unfinished_step_is_refused(Communicator& world) {
  Program program(world, linear_net());
  for (auto& step : program.steps()) {
    for (const at::Tensor& x : step.micro_batches()) {
      program.loss(x).backward();
      break;
    }
    break;
  }
  const auto train_again = [&] {
    for (auto& step : program.steps()) {
      for (const at::Tensor& x : step.micro_batches()) program.loss(x).backward();
    }
  };
  EXPECT_THAT(train_again, ThrowsMessage<UsageError>(HasSubstr("left its micro-batches early")));
  world.barrier();
}

void two_step_loops_at_a_time_are_refused(Communicator& world) {
  Program program(world, linear_net());
  const auto first = program.steps();
  EXPECT_THAT([&] { static_cast<void>(program.steps()); }, ThrowsMessage<UsageError>(HasSubstr("another step loop")));
}

void a_loop_may_follow_one_that_was_left(Communicator& world) {
  Program program(world, linear_net());
  for (auto& step : program.steps()) {
    for (const at::Tensor& x : step.micro_batches()) program.loss(x).backward();
    break;
  }
  program.net->zero_grad();
  std::int64_t steps = 0;
  for (auto& step : program.steps()) {
    program.net->zero_grad();
    for (const at::Tensor& x : step.micro_batches()) program.loss(x).backward();
    ++steps;
  }
  EXPECT_EQ(steps, 3);
}

// With a range of the user's, a rank has one micro-batch a step: M can only be the number of ranks.
void a_plain_range_with_other_micro_batches_than_ranks_is_refused(Communicator& world) {
  const SharedFolder folder(world);
  RuntimeOptions options = Program::options_in(folder);
  options.micro_batches = world.world_size() + 1;
  Job job(world, options);
  TrainState state;
  std::vector<at::Tensor> batches{at::ones({2, 3})};
  EXPECT_THAT([&] { static_cast<void>(job.runtime().steps(state, batches)); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("train.micro_batches=" + std::to_string(world.world_size())),
                                              HasSubstr("DataLoader"))));
}

void more_ranks_than_micro_batches_are_refused(Communicator& world) {
  if (world.world_size() == 1) return;
  const SharedFolder folder(world);
  RuntimeOptions options;
  options.run_dir = folder.path();
  options.micro_batches = 1;
  EXPECT_THAT([&] { Job(world, options); },
              ThrowsMessage<Error>(AllOf(HasSubstr(std::to_string(world.world_size()) + " ranks for 1 micro-batches"),
                                         HasSubstr("start at most 1 ranks"),
                                         HasSubstr("train.micro_batches=" + std::to_string(world.world_size())))));
  world.barrier();  // before rank 0 removes the folder
}

void a_module_without_a_gradient_is_refused(Communicator& world) {
  const auto net = linear_net();
  for (at::Tensor& parameter : net->parameters()) parameter.requires_grad_(false);
  EXPECT_THAT([&] { Program(world, net); }, ThrowsMessage<UsageError>(HasSubstr("no parameter that requires")));
}

}  // namespace

std::vector<RuntimeCase> misuse_cases() {
#define CASE(name) \
  { #name, name }
  return {
      CASE(a_gradient_left_over_from_the_step_before_is_refused),
      CASE(a_second_backward_after_the_launch_is_refused),
      CASE(a_sparse_gradient_is_refused_by_name),
      CASE(leaving_the_micro_batches_early_ends_the_next_step),
      CASE(a_loop_after_an_unfinished_step_is_refused),
      CASE(two_step_loops_at_a_time_are_refused),
      CASE(a_loop_may_follow_one_that_was_left),
      CASE(a_plain_range_with_other_micro_batches_than_ranks_is_refused),
      CASE(more_ranks_than_micro_batches_are_refused),
      CASE(a_module_without_a_gradient_is_refused),
  };
#undef CASE
}

}  // namespace lockstep::testing
