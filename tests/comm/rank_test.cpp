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

// Peers learn of it by a notice, not by their deadlines, which are 60 s here.
TEST_P(RankFailures, a_rank_that_gives_up_ends_the_waits_of_the_others) {
  if (world().world_size() == 1) return;
  Communicator other = world(GetParam()).duplicate("other");
  const int culprit = world().world_size() - 1;
  if (world().rank() == culprit) {
    other.abort("shard 7 is truncated");
  } else {
    EXPECT_THAT([&] { other.barrier(); }, ThrowsMessage<PeerDied>(HasSubstr("rank " + std::to_string(culprit) +
                                                                            " gave up: shard 7 is truncated")));
  }
  world().barrier();
}

// Ranks 0 and 1 disagree on a message; the others take no part in it.
TEST_P(RankFailures, a_mismatch_ends_the_waits_of_those_who_cannot_see_it) {
  if (world().world_size() < 3) return;
  Communicator other = world(GetParam()).duplicate("other");
  std::vector<float> values(5000);
  const auto call = [&] {
    if (world().rank() == 0) other.send({values.data(), 5000, DType::float32}, 1).wait();
    if (world().rank() == 1) other.receive({values.data(), 4000, DType::float32}, 0).wait();
    other.barrier();
  };
  EXPECT_THAT(call, ThrowsMessage<MismatchError>(AllOf(HasSubstr("5000 × float32"), HasSubstr("4000 × float32"))));
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
