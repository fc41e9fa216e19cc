// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <map>

#include "comm/collective_cases.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::testing {
namespace {

// The ranks in `whole` of the ranks of `part`.
std::vector<std::int64_t> members(Communicator& part, const Communicator& whole) {
  std::vector<std::int64_t> ranks(static_cast<std::size_t>(part.world_size()));
  std::int64_t own = whole.rank();
  part.all_gather(ranks.data(), {&own, 1, DType::int64}).wait();
  return ranks;
}

void split_makes_a_communicator_of_each_color_in_the_order_of_keys(Communicator& world) {
  const int color = world.rank() % 2;
  Communicator half = *world.split(color, -world.rank(), "half");
  std::vector<std::int64_t> expected;
  for (int rank = world.world_size() - 1; rank >= 0; --rank) {
    if (rank % 2 == color) expected.push_back(rank);
  }
  ASSERT_EQ(half.world_size(), static_cast<int>(expected.size()));
  EXPECT_EQ(expected[static_cast<std::size_t>(half.rank())], world.rank());
  EXPECT_EQ(members(half, world), expected);
  half.close();
}

void ranks_of_equal_key_keep_their_order(Communicator& world) {
  Communicator all = *world.split(7, 0, "all");
  EXPECT_EQ(all.rank(), world.rank());
  EXPECT_EQ(all.world_size(), world.world_size());
  all.close();
}

void a_rank_without_color_gets_no_communicator(Communicator& world) {
  const bool takes_part = world.rank() > 0;
  auto rest = world.split(takes_part ? std::optional(3) : std::nullopt, 0, "rest");
  EXPECT_EQ(rest.has_value(), takes_part);
  if (rest) {
    EXPECT_EQ(rest->rank(), world.rank() - 1);
    EXPECT_EQ(rest->world_size(), world.world_size() - 1);
    rest->close();
  }
  EXPECT_THROW({ auto none = world.split(-1, 0, "none"); }, UsageError);
  world.barrier();
}

void peers_of_a_part_are_numbered_anew(Communicator& world) {
  Communicator half = *world.split(world.rank() % 2, 0, "half");
  std::map<int, int> nodes;        // their new numbers
  std::map<int, int> local_ranks;  // so far
  for (int rank = 0; rank < half.world_size(); ++rank) {
    const auto& peer = half.peers()[static_cast<std::size_t>(rank)];
    const auto& before = world.peers()[static_cast<std::size_t>(2 * rank + world.rank() % 2)];
    EXPECT_EQ(peer.pid, before.pid);
    EXPECT_EQ(peer.host, before.host);
    EXPECT_EQ(peer.node, nodes.try_emplace(before.node, static_cast<int>(nodes.size())).first->second);
    EXPECT_EQ(peer.local_rank, local_ranks[peer.node]++);
  }
  half.close();
}

void parts_work_at_the_same_time_as_the_whole(Communicator& world) {
  Communicator half = *world.split(world.rank() % 2, 0, "half");
  std::vector<double> small(5, 1.0), large(20'000, 1.0), of_all(20'000, 1.0);
  Work whole = world.all_reduce({of_all.data(), 20'000, DType::float64});
  Work first = half.all_reduce({large.data(), 20'000, DType::float64});
  half.all_reduce({small.data(), 5, DType::float64}).wait();
  first.wait();
  whole.wait();
  EXPECT_EQ(small, std::vector<double>(5, half.world_size()));
  EXPECT_EQ(large, std::vector<double>(20'000, half.world_size()));
  EXPECT_EQ(of_all, std::vector<double>(20'000, world.world_size()));
  half.close();
}

void messages_within_a_part_use_its_ranks(Communicator& world) {
  Communicator half = *world.split(world.rank() % 2, -world.rank(), "half");
  const int n = half.world_size();
  std::int64_t own = world.rank();
  std::int64_t got = -1;
  Work send = half.send({&own, 1, DType::int64}, (half.rank() + 1) % n);
  half.receive({&got, 1, DType::int64}, (half.rank() + n - 1) % n).wait();
  send.wait();
  EXPECT_EQ(got, members(half, world)[static_cast<std::size_t>((half.rank() + n - 1) % n)]);
  half.close();
}

void a_part_can_be_split_again(Communicator& world) {
  Communicator half = *world.split(world.rank() % 2, 0, "half");
  Communicator alone = *half.split(half.rank(), 0, "alone");
  EXPECT_EQ(alone.world_size(), 1);
  EXPECT_EQ(members(alone, world), std::vector<std::int64_t>{world.rank()});
  alone.close();
  half.close();
}

}  // namespace

std::vector<CollectiveCase> split_cases() {
#define CASE(name) \
  { #name, name }
  return {
      CASE(split_makes_a_communicator_of_each_color_in_the_order_of_keys),
      CASE(ranks_of_equal_key_keep_their_order),
      CASE(a_rank_without_color_gets_no_communicator),
      CASE(peers_of_a_part_are_numbered_anew),
      CASE(parts_work_at_the_same_time_as_the_whole),
      CASE(messages_within_a_part_use_its_ranks),
      CASE(a_part_can_be_split_again),
  };
#undef CASE
}

}  // namespace lockstep::testing
