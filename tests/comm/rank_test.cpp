// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <unistd.h>

#include <tuple>

#include "comm/collective_cases.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/backend.hpp"
#include "support/rank_world.hpp"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class RankCollectives : public ::testing::TestWithParam<std::tuple<CollectiveCase, std::string>> {};

TEST_P(RankCollectives, hold) { std::get<0>(GetParam()).check(world(std::get<1>(GetParam()))); }

INSTANTIATE_TEST_SUITE_P(Cases, RankCollectives,
                         ::testing::Combine(::testing::ValuesIn(collective_cases()), ::testing::ValuesIn(backends())),
                         [](const auto& instance) {
                           return std::get<0>(instance.param).name + "_on_" + std::get<1>(instance.param);
                         });

class RankFailures : public ::testing::TestWithParam<std::string> {};

TEST_P(RankFailures, a_rank_that_does_not_come_is_named) {
  if (world().world_size() == 1) return;
  Communicator other = world(GetParam()).duplicate("other");
  if (world().rank() != 1) {
    EXPECT_THAT([&] { other.barrier({.timeout = std::chrono::milliseconds(100)}); },
                ThrowsMessage<TimeoutError>(AllOf(HasSubstr("barrier #0"), HasSubstr("waiting for rank 1 "))));
  }
  world().barrier();
}

INSTANTIATE_TEST_SUITE_P(Backends, RankFailures, ::testing::ValuesIn(backends()),
                         [](const auto& instance) { return instance.param; });

TEST(Ranks, a_rank_is_known_by_host_and_process) {
  const auto& peer = world().peers()[static_cast<std::size_t>(world().rank())];
  EXPECT_EQ(peer.local_rank, world().rank());
  EXPECT_EQ(peer.pid, getpid());
}

}  // namespace
}  // namespace lockstep::testing
