// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "lockstep/lockstep.hpp"
#include "runtime/cases.hpp"
#include "runtime/job.hpp"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class LocalRuntime : public ::testing::TestWithParam<RuntimeCase> {};

TEST_P(LocalRuntime, holds_at_world_sizes_1_to_4) {
  for (const int world_size : {1, 2, 3, 4}) {
    SCOPED_TRACE(world_size);
    run_ranks_in_turn(world_size, GetParam().check);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, LocalRuntime, ::testing::ValuesIn(runtime_cases()),
                         [](const auto& instance) { return instance.param.name; });

// Over MPI the rank that differs would take the job down.
TEST(LocalRuntimeModules, that_differ_are_refused_naming_the_parameter) {
  const auto build = [](std::int64_t width_of_rank_1, at::MemoryFormat format_of_rank_1) {
    run_ranks_in_turn(2, [&](Communicator& world) {
      const bool odd = world.rank() == 1;
      Runtime rt(world.duplicate("world"));
      torch::nn::Sequential net(torch::nn::Conv2d(2, 3, 3), torch::nn::Linear(odd ? width_of_rank_1 : 4, 2));
      at::Tensor weight = net->parameters()[0];
      weight.set_data(weight.contiguous(odd ? format_of_rank_1 : at::MemoryFormat::Contiguous));
      const DistributedDataParallel model(rt, net.ptr());
    });
  };
  EXPECT_THAT(
      [&] { build(5, at::MemoryFormat::Contiguous); },
      ThrowsMessage<UsageError>(AllOf(HasSubstr("here 1.weight: [2, 5]"), HasSubstr("there 1.weight: [2, 4]"))));
  // Gradients are summed as they lie in memory.
  EXPECT_THAT([&] { build(4, at::MemoryFormat::ChannelsLast); }, ThrowsMessage<UsageError>(HasSubstr("here 0.weight")));
}

}  // namespace
}  // namespace lockstep::testing
