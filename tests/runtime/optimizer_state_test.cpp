// SPDX-License-Identifier: Apache-2.0
#include "optimizer_state.hpp"

#include <gmock/gmock.h>
#include <torch/nn.h>
#include <torch/optim.h>

#include "lockstep/base/error.hpp"
#include "runtime/tiny_optimizer.hpp"

namespace lockstep::testing {
namespace {

namespace optim = torch::optim;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

at::Tensor trained_parameter() {
  at::Tensor parameter = at::ones({3}).requires_grad_();
  parameter.mutable_grad() = at::full({3}, 0.5);
  return parameter;
}

// The names of what `optimizer` keeps for `parameter` after one step.
std::vector<std::string> slot_names(optim::Optimizer& optimizer, const at::Tensor& parameter) {
  EXPECT_TRUE(optimizer_slots(optimizer, parameter).empty() || optimizer_kind(optimizer) == "Adagrad");
  optimizer.step();
  std::vector<std::string> names;
  for (const OptimizerSlot& slot : optimizer_slots(optimizer, parameter)) names.push_back(slot.name);
  return names;
}

// The names are part of the checkpoint format: PyTorch's own.
TEST(OptimizerSlots, have_PyTorchs_names) {
  const at::Tensor parameter = trained_parameter();
  const std::vector<at::Tensor> all{parameter};
  optim::SGD sgd(all, optim::SGDOptions(0.1).momentum(0.9));
  EXPECT_THAT(slot_names(sgd, parameter), ElementsAre("momentum_buffer"));
  optim::Adam adam(all, optim::AdamOptions(0.1).amsgrad(true));
  EXPECT_THAT(slot_names(adam, parameter), ElementsAre("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"));
  optim::AdamW adamw(all, optim::AdamWOptions(0.1));
  EXPECT_THAT(slot_names(adamw, parameter), ElementsAre("step", "exp_avg", "exp_avg_sq"));
  optim::RMSprop rmsprop(all, optim::RMSpropOptions(0.1).momentum(0.9).centered(true));
  EXPECT_THAT(slot_names(rmsprop, parameter), ElementsAre("step", "square_avg", "momentum_buffer", "grad_avg"));
  optim::Adagrad adagrad(all, optim::AdagradOptions(0.1));
  EXPECT_THAT(slot_names(adagrad, parameter), ElementsAre("sum", "step"));
}

TEST(OptimizerSlots, of_another_kind_are_refused) {
  const at::Tensor parameter = trained_parameter();
  optim::Adam adam({parameter}, optim::AdamOptions(0.1));
  adam.step();
  optim::SGD sgd({parameter}, optim::SGDOptions(0.1).momentum(0.9));
  EXPECT_THAT([&] { set_optimizer_slots(sgd, parameter, optimizer_slots(adam, parameter)); },
              ThrowsMessage<CheckpointError>(AllOf(HasSubstr("SGD"), HasSubstr("another kind"))));
}

TEST(OptimizerGroups, carry_learning_rates_that_a_schedule_has_changed) {
  const auto make = [](double first_lr) {
    std::vector<optim::OptimizerParamGroup> groups;
    groups.emplace_back(std::vector<at::Tensor>{trained_parameter()});
    groups.emplace_back(std::vector<at::Tensor>{trained_parameter()},
                        std::make_unique<optim::AdamWOptions>(optim::AdamWOptions(0.01).betas({0.8, 0.7})));
    return std::make_unique<optim::AdamW>(groups, optim::AdamWOptions(first_lr));
  };
  const auto saved = make(0.1);
  saved->param_groups()[0].options().set_lr(0.1 / 3);
  const auto fresh = make(0.2);
  set_optimizer_groups(*fresh, optimizer_groups(*saved));
  EXPECT_EQ(fresh->param_groups()[0].options().get_lr(), 0.1 / 3);
  const auto& second = static_cast<optim::AdamWOptions&>(fresh->param_groups()[1].options());
  EXPECT_EQ(second.betas(), std::make_tuple(0.8, 0.7));
}

TEST(OptimizerGroups, refuse_those_of_another_optimizer) {
  optim::SGD one({trained_parameter()}, 0.1);
  optim::Adam adam({trained_parameter()}, 0.1);
  EXPECT_THROW(set_optimizer_groups(one, optimizer_groups(adam)), CheckpointError);
  EXPECT_THROW(set_optimizer_groups(one, "[]"), CheckpointError);
  EXPECT_THROW(set_optimizer_groups(one, "{\"lr\": 1"), CheckpointError);
}

TEST(OptimizerKind, refuses_one_that_it_does_not_know_by_name) {
  TinyOptimizer tiny({trained_parameter()});
  EXPECT_THAT([&] { static_cast<void>(optimizer_kind(tiny)); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("TinyOptimizer"), HasSubstr("Fix: use SGD, Adam"))));
}

}  // namespace
}  // namespace lockstep::testing
