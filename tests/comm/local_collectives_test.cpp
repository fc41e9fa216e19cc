// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "comm/collective_cases.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/local.hpp"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class LocalCollectives : public ::testing::TestWithParam<CollectiveCase> {};

TEST_P(LocalCollectives, hold_at_world_sizes_1_to_5) {
  for (const int world_size : {1, 2, 3, 4, 5}) {
    SCOPED_TRACE(world_size);
    run_local_ranks(world_size, GetParam().check);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, LocalCollectives, ::testing::ValuesIn(collective_cases()),
                         [](const auto& instance) { return instance.param.name; });

TEST(LocalRanks, a_rank_that_does_not_come_is_named) {
  EXPECT_THAT(
      [] {
        run_local_ranks(3, [](Communicator& world) {
          if (world.rank() == 1) return;
          world.barrier({.timeout = std::chrono::milliseconds(500)});  // the others come later on a busy machine
        });
      },
      ThrowsMessage<TimeoutError>(AllOf(HasSubstr("barrier #0"), HasSubstr("waiting for rank 1 "), HasSubstr("Fix:"))));
}

TEST(LocalRanks, a_rank_that_throws_ends_the_waits_of_the_others) {
  EXPECT_THAT(
      [] {
        run_local_ranks(3, [](Communicator& world) {
          if (world.rank() == 2) throw DataError({.what = "shard 7", .why = "truncated", .fix = {}});
          EXPECT_THAT([&] { world.barrier(); }, ThrowsMessage<PeerDied>(HasSubstr("rank 2 gave up: shard 7")));
        });
      },
      ThrowsMessage<DataError>(HasSubstr("truncated")));
}

class CountWaits final : public WaitObserver {
 public:
  void before_wait() override { EXPECT_EQ(depth_++, 0); }
  void after_wait() override { EXPECT_EQ(--depth_, 0); }
  [[nodiscard]] int depth() const { return depth_; }

 private:
  int depth_ = 0;
};

TEST(LocalRanks, an_observer_sees_every_wait_begin_and_end) {
  run_local_ranks(2, [](Communicator& world) {
    CountWaits waits;
    world.observe_waits(&waits);
    for (int i = 0; i < 50; ++i) world.barrier();
    EXPECT_EQ(waits.depth(), 0);
    world.observe_waits(nullptr);
  });
}

}  // namespace
}  // namespace lockstep::testing
