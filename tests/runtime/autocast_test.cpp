// SPDX-License-Identifier: Apache-2.0
#include "lockstep/runtime/autocast.hpp"

#include <ATen/autocast_mode.h>
#include <gmock/gmock.h>
#include <torch/torch.h>

#include "lockstep/base/error.hpp"

namespace lockstep::testing {
namespace {

// Whatever the weights are.
struct Problem {
  torch::nn::Linear net{16, 4};
  at::Tensor input = at::rand({3, 16});
};

bool enabled() { return at::autocast::is_autocast_enabled(at::kCPU); }

TEST(Autocast, gives_the_bits_of_plain_bfloat16) {
  Problem problem;
  const at::Tensor plain = at::linear(problem.input.to(at::kBFloat16), problem.net->weight.to(at::kBFloat16),
                                      problem.net->bias.to(at::kBFloat16));
  at::Tensor scores;
  {
    const Autocast autocast(at::kCPU);
    scores = problem.net->forward(problem.input);
  }
  EXPECT_EQ(scores.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(scores.equal(plain));
}

TEST(Autocast, leaves_parameters_and_gradients_in_float32) {
  Problem problem;
  at::Tensor loss;
  {
    const Autocast autocast(at::kCPU);
    loss = problem.net->forward(problem.input).to(at::kFloat).pow(2).mean();
  }
  loss.backward();
  EXPECT_EQ(problem.net->weight.grad().scalar_type(), at::kFloat);
  EXPECT_EQ(loss.scalar_type(), at::kFloat);
}

TEST(Autocast, restores_what_it_found_when_scopes_nest) {
  const at::ScalarType before = at::autocast::get_autocast_dtype(at::kCPU);
  {
    const Autocast outer(at::kCPU, at::kBFloat16);
    {
      const Autocast inner(at::kCPU, at::kHalf);
      EXPECT_EQ(at::autocast::get_autocast_dtype(at::kCPU), at::kHalf);
    }
    EXPECT_TRUE(enabled());
    EXPECT_EQ(at::autocast::get_autocast_dtype(at::kCPU), at::kBFloat16);
  }
  EXPECT_FALSE(enabled());
  EXPECT_EQ(at::autocast::get_autocast_dtype(at::kCPU), before);
}

TEST(Autocast, ends_with_an_exception) {
  try {
    const Autocast autocast(at::kCPU);
    throw std::runtime_error("in forward");
  } catch (const std::runtime_error&) {
  }
  EXPECT_FALSE(enabled());
}

// Else the next forward pass would compute with the parameters from before the optimizer's step.
TEST(Autocast, forgets_the_casts_of_parameters_when_it_ends) {
  Problem problem;
  const auto forward = [&] {
    const Autocast autocast(at::kCPU);
    return problem.net->forward(problem.input);
  };
  const at::Tensor first = forward();
  {
    const at::NoGradGuard no_grad;
    problem.net->weight.mul_(2);
  }
  EXPECT_FALSE(forward().equal(first));
}

TEST(Autocast, refuses_other_dtypes_and_changes_nothing) {
  EXPECT_THROW(Autocast(at::kCPU, at::kDouble), UsageError);
  EXPECT_FALSE(enabled());
}

}  // namespace
}  // namespace lockstep::testing
