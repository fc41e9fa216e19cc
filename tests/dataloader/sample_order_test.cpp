// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/sample_order.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

std::vector<std::int64_t> samples_of(const SampleOrder& order, std::uint64_t seed, std::int64_t pass) {
  const auto of_pass = order.pass(seed, pass);
  std::vector<std::int64_t> samples;
  for (std::int64_t i = 0; i < order.samples_per_pass(); ++i) samples.push_back((*of_pass)(i));
  return samples;
}

std::vector<std::int64_t> sorted(std::vector<std::int64_t> values) {
  std::ranges::sort(values);
  return values;
}

std::vector<std::int64_t> numbers(std::int64_t count) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

TEST(SampleOrder, gives_every_sample_once_a_pass_and_another_order_in_the_next) {
  for (const auto& order : {shuffled(50), shuffled_shards({7, 0, 13, 1, 9, 20}, 2), shuffled_shards({50}, 8),
                            shuffled_shards({25, 25}, 1)}) {
    EXPECT_EQ(sorted(samples_of(*order, 3, 0)), numbers(50));
    EXPECT_EQ(sorted(samples_of(*order, 3, 1)), numbers(50));
    EXPECT_NE(samples_of(*order, 3, 0), samples_of(*order, 3, 1));
    EXPECT_NE(samples_of(*order, 3, 0), samples_of(*order, 4, 0));
    EXPECT_EQ(samples_of(*order, 3, 1), samples_of(*order, 3, 1));
  }
  EXPECT_EQ(samples_of(*in_order(5), 3, 7), numbers(5));
}

TEST(ShuffledShards, needs_no_more_shards_at_a_time_than_its_window) {
  constexpr std::int64_t kShard = 10;
  const auto order = shuffled_shards(std::vector<std::int64_t>(12, kShard), 3);
  const auto samples = samples_of(*order, 1, 0);
  std::set<std::int64_t> seen;
  for (std::size_t first = 0; first < samples.size(); first += 3 * kShard) {
    std::set<std::int64_t> shards;
    for (std::size_t i = first; i < first + 3 * kShard; ++i) shards.insert(samples[i] / kShard);
    EXPECT_EQ(shards.size(), 3U);
    for (const auto shard : shards) EXPECT_TRUE(seen.insert(shard).second) << "shard " << shard << " is read twice";
  }
}

TEST(Balanced, gives_classes_in_turn_and_every_member_once_before_any_again) {
  const std::vector<std::vector<std::int64_t>> members{{0, 1, 2, 3, 4, 5, 6}, {7}, {8, 9, 10, 11}};
  const auto order = balanced(members);
  ASSERT_EQ(order->samples_per_pass(), 12);
  std::map<std::size_t, std::vector<std::int64_t>> given;
  for (std::int64_t pass = 0; pass < 7; ++pass) {
    for (const auto sample : samples_of(*order, 5, pass)) {
      for (std::size_t c = 0; c < 3; ++c) {
        if (std::ranges::find(members[c], sample) != members[c].end()) given[c].push_back(sample);
      }
    }
  }
  for (std::size_t c = 0; c < 3; ++c) {
    ASSERT_EQ(given[c].size(), 28U);
    for (std::size_t first = 0; first + members[c].size() <= 28; first += members[c].size()) {
      const auto begin = given[c].begin() + static_cast<std::ptrdiff_t>(first);
      EXPECT_EQ(sorted({begin, begin + std::ssize(members[c])}), members[c]);
    }
  }
}

TEST(SampleOrder, refuses_no_classes_and_no_window) {
  EXPECT_THROW((void)balanced({}), UsageError);
  EXPECT_THROW((void)balanced({{1}, {}}), UsageError);
  EXPECT_THROW((void)shuffled_shards({1}, 0), UsageError);
}

}  // namespace
}  // namespace lockstep
