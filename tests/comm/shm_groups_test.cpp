// SPDX-License-Identifier: Apache-2.0
// Parts and survivors of a communicator over shm, with threads as ranks.
#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>

#include "comm/thread_ranks.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::int64_t sum_over(Communicator& communicator, std::int64_t value) {
  communicator.all_reduce({&value, 1, DType::int64}).wait();
  return value;
}

TEST(ShmSplit, makes_a_communicator_for_each_color) {
  on_shm_threads(5, [](Communicator& world) {
    auto part = world.split(world.rank() % 2, 0, "part");
    ASSERT_TRUE(part);
    const bool even = world.rank() % 2 == 0;
    EXPECT_EQ(part->world_size(), even ? 3 : 2);
    EXPECT_EQ(part->rank(), world.rank() / 2);
    EXPECT_EQ(part->peers()[static_cast<std::size_t>(part->rank())].local_rank, part->rank());
    for (int i = 0; i < 20; ++i) ASSERT_EQ(sum_over(*part, world.rank()), even ? 6 : 4);
    EXPECT_EQ(sum_over(world, 1), 5);
  });
}

TEST(ShmSplit, orders_ranks_by_key_then_by_rank) {
  on_shm_threads(4, [](Communicator& world) {
    auto part = world.split(3, world.rank() == 3 ? -1 : 2, "part");
    EXPECT_EQ(part->rank(), (world.rank() + 1) % 4);
    std::vector<int> order(4);
    const int own = world.rank();
    part->all_gather(order.data(), {const_cast<int*>(&own), 1, DType::int32}).wait();
    EXPECT_THAT(order, ::testing::ElementsAre(3, 0, 1, 2));
  });
}

TEST(ShmSplit, gives_nothing_to_a_rank_without_color) {
  on_shm_threads(3, [](Communicator& world) {
    auto part = world.split(world.rank() == 1 ? std::nullopt : std::optional(0), 0, "part");
    ASSERT_EQ(part.has_value(), world.rank() != 1);
    if (part) {
      EXPECT_EQ(sum_over(*part, world.rank()), 2);
    }
  });
}

TEST(ShmSplit, parts_use_the_memory_of_the_whole_and_can_be_split_again) {
  on_shm_threads(4, [](Communicator& world) {
    constexpr std::int64_t kElements = 50'000;
    const auto own = world.allocate(kElements * sizeof(std::int64_t));
    auto* const values = reinterpret_cast<std::int64_t*>(own.get());
    auto three = world.split(world.rank() == 1 ? 1 : 0, -world.rank(), "three");  // 3, 2, 0
    if (world.rank() == 1) return;
    auto two = three->split(world.rank() == 2 ? 1 : 0, world.rank(), "two");  // 0, 3
    std::fill(values, values + kElements, world.rank() + 1);
    three->all_reduce({values, kElements, DType::int64}).wait();
    EXPECT_EQ(values[kElements - 1], 8);
    if (world.rank() == 2) return;
    EXPECT_EQ(two->rank(), world.rank() / 3);
    two->broadcast({values, kElements, DType::int64}, 1).wait();
    two->all_reduce({values, kElements, DType::int64}).wait();
    EXPECT_EQ(values[0], 16);
  });
}

TEST(ShmSplit, reports_a_failure_once_for_all_parts) {
  std::atomic<int> first{0};
  on_shm_threads(4, [&](Communicator& world) {
    auto part = world.split(world.rank() / 2, 0, "part");
    if (part->claim_first_failure()) ++first;
    if (world.claim_first_failure()) ++first;
  });
  EXPECT_EQ(first, 1);
}

TEST(ShmSplit, a_failure_of_one_part_leaves_the_other) {
  on_shm_threads(4, [](Communicator& world) {
    auto part = world.split(world.rank() / 2, 0, "part");
    if (world.rank() == 0) part->abort("no more data");
    if (world.rank() == 1) {
      EXPECT_THAT([&] { part->barrier(); }, ThrowsMessage<PeerDied>(HasSubstr("rank 0 gave up: no more data")));
    }
    if (world.rank() >= 2) {
      EXPECT_EQ(sum_over(*part, 1), 2);
    }
    EXPECT_EQ(sum_over(world, 1), 4);
  });
}

TEST(ShmShrink, goes_on_with_those_that_come) {
  for (const int gone : {0, 2}) {
    on_shm_threads(
        4,
        [gone](Communicator& world) {
          if (world.rank() == gone) return world.abort("gone");
          EXPECT_THROW(world.barrier(), PeerDied);
          Communicator left = world.shrink("left");
          EXPECT_EQ(left.world_size(), 3);
          EXPECT_EQ(left.rank(), world.rank() - (world.rank() > gone ? 1 : 0));
          for (int i = 0; i < 20; ++i) ASSERT_EQ(sum_over(left, world.rank()), 6 - gone);
        },
        std::chrono::milliseconds(1000));
  }
}

TEST(ShmShrink, of_a_shrunk_communicator_shrinks_it_again) {
  on_shm_threads(
      4,
      [](Communicator& world) {
        if (world.rank() == 0) return world.abort("gone");
        EXPECT_THROW(world.barrier(), PeerDied);
        Communicator three = world.shrink("three");
        if (world.rank() == 3) return three.abort("gone too");
        EXPECT_THROW(three.barrier(), PeerDied);
        Communicator two = three.shrink("two");
        EXPECT_EQ(two.world_size(), 2);
        constexpr std::int64_t kElements = 70'001;
        const auto own = two.allocate(kElements * sizeof(std::int64_t));
        auto* const values = reinterpret_cast<std::int64_t*>(own.get());
        std::fill(values, values + kElements, world.rank());
        two.all_reduce({values, kElements, DType::int64}).wait();
        EXPECT_EQ(values[kElements - 1], 3);
        auto reversed = two.split(0, -two.rank(), "reversed");
        EXPECT_EQ(sum_over(*reversed, 1), 2);
      },
      std::chrono::milliseconds(1000));
}

TEST(ShmShrink, a_failure_after_it_is_reported_once_again) {
  std::atomic<int> first{0};
  on_shm_threads(3, [&](Communicator& world) {
    if (world.claim_first_failure()) ++first;
    world.abort("all fail");
    Communicator again = world.shrink("again");
    if (again.claim_first_failure()) ++first;
  });
  EXPECT_EQ(first, 2);
}

TEST(ShmShrink, leaves_out_a_rank_that_comes_too_late) {
  std::atomic<bool> decided{false};
  on_shm_threads(
      3,
      [&](Communicator& world) {
        world.abort("all fail");
        if (world.rank() == 0) {
          while (!decided) std::this_thread::yield();
          EXPECT_THAT(
              [&] { auto left = world.shrink("left"); },
              ThrowsMessage<CommError>(HasSubstr("the other survivors, 2 of 3 ranks, have gone on without it")));
          return;
        }
        Communicator left = world.shrink("left");
        EXPECT_EQ(sum_over(left, world.rank()), 3);
        decided = true;
      },
      std::chrono::milliseconds(1000));
}

TEST(ShmShrink, is_refused_a_second_time) {
  on_shm_threads(2, [](Communicator& world) {
    world.abort("all fail");
    Communicator again = world.shrink("again");
    EXPECT_EQ(sum_over(again, 1), 2);
    EXPECT_THAT([&] { auto twice = world.shrink("twice"); }, ThrowsMessage<UsageError>(HasSubstr("shrunk before")));
  });
}

#ifndef __SANITIZE_THREAD__  // which leaves too little address space for so many arenas
TEST(ShmShrink, works_for_more_ranks_than_a_word_has_bits) {
  on_shm_threads(
      70,
      [](Communicator& world) {
        if (world.rank() == 0 || world.rank() == 66) return world.abort("gone");
        EXPECT_THROW(world.barrier(), PeerDied);
        Communicator left = world.shrink("left");
        EXPECT_EQ(left.world_size(), 68);
        EXPECT_EQ(sum_over(left, world.rank()), 70 * 69 / 2 - 66);
      },
      std::chrono::milliseconds(5000));
}
#endif

}  // namespace
}  // namespace lockstep::testing
