// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <torch/nn.h>
#include <torch/optim.h>

#include "lockstep/base/error.hpp"
#include "lockstep/runtime/train_state.hpp"
#include "state_io.hpp"

namespace lockstep::testing {
namespace {

namespace nn = torch::nn;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::shared_ptr<nn::LinearImpl> linear() { return nn::Linear(2, 1).ptr(); }

std::vector<std::string> names_of(const TrainState& state) {
  std::vector<std::string> names;
  for (const TensorSlice& slice : flatten(state).tensors) names.push_back(slice.name);
  return names;
}

TEST(TrainState, refuses_a_name_that_is_taken) {
  TrainState state;
  state.add("model", linear());
  torch::optim::SGD optimizer(linear()->parameters(), 0.1);
  EXPECT_THAT([&] { state.add("model", linear()); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("\"model\""), HasSubstr("taken"))));
  EXPECT_THROW(state.add("model", optimizer), UsageError);
}

TEST(TrainState, refuses_what_cannot_be_a_group_of_a_checkpoint) {
  for (const char* const name : {"", "a/b", "/model", "blobs"}) {
    EXPECT_THROW(TrainState().add(name, linear()), UsageError) << name;
  }
}

TEST(FlatState, has_PyTorchs_names_below_those_of_the_state) {
  const auto net = linear();
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
  net->forward(at::ones({1, 2})).sum().backward();
  optimizer.step();
  TrainState state;
  state.add("model", net).add("optimizer", optimizer);
  EXPECT_THAT(names_of(state), ElementsAre("/model/bias", "/model/weight", "/optimizer/weight/momentum_buffer",
                                           "/optimizer/bias/momentum_buffer"));
}

// Two nets of one program may well have a "weight" each.
TEST(FlatState, tells_the_parameters_of_two_modules_apart) {
  const auto first = linear();
  const auto second = linear();
  std::vector<at::Tensor> all = first->parameters();
  for (const at::Tensor& parameter : second->parameters()) all.push_back(parameter);
  torch::optim::SGD optimizer(all, torch::optim::SGDOptions(0.1).momentum(0.9));
  (first->forward(at::ones({1, 2})) + second->forward(at::ones({1, 2}))).sum().backward();
  optimizer.step();
  TrainState state;
  state.add("generator", first).add("critic", second).add("optimizer", optimizer);
  EXPECT_THAT(names_of(state), ::testing::IsSupersetOf({"/optimizer/generator.weight/momentum_buffer",
                                                        "/optimizer/critic.weight/momentum_buffer"}));
}

TEST(FlatState, refuses_an_optimizer_of_parameters_that_are_not_in_the_state) {
  torch::optim::SGD optimizer(linear()->parameters(), 0.1);
  TrainState state;
  state.add("optimizer", optimizer);
  EXPECT_THAT([&] { static_cast<void>(flatten(state)); }, ThrowsMessage<UsageError>(HasSubstr("belongs to no module")));
}

// The digest that users compare: pins names' order and bytes.
TEST(ParametersSha256, is_that_of_the_bytes_in_the_order_of_names) {
  const auto net = linear();
  const at::NoGradGuard no_grad;
  net->weight.copy_(at::tensor({1.0F, 2.0F}).view({1, 2}));
  net->bias.fill_(0.5);
  TrainState state;
  state.add("model", net);
  EXPECT_EQ(parameters_sha256(state), "bafe70a90f392d1fcbe33c473022fe20fdab97434e6123652a2b55827be0c6b0");
}

}  // namespace
}  // namespace lockstep::testing
