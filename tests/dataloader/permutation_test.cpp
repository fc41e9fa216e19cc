// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/permutation.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <vector>

namespace lockstep {
namespace {

std::vector<std::uint64_t> first_values(const Permutation& order, std::uint64_t count) {
  std::vector<std::uint64_t> values(count);
  std::iota(values.begin(), values.end(), std::uint64_t{0});
  std::ranges::transform(values, values.begin(), order);
  return values;
}

TEST(Permutation, is_a_bijection_at_every_size_seed_and_stream) {
  for (const std::uint64_t size : {1, 2, 3, 5, 7, 64, 100, 1000, 65537}) {
    std::vector<std::uint64_t> all(size);
    std::iota(all.begin(), all.end(), std::uint64_t{0});
    for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}}) {
      for (const std::uint64_t stream : {0, 1, 1000}) {
        auto values = first_values(Permutation(size, seed, stream), size);
        std::ranges::sort(values);
        EXPECT_EQ(values, all) << "size " << size << ", seed " << seed << ", stream " << stream;
      }
    }
  }
}

TEST(Permutation, keeps_its_bits_for_ever) {
  // A change here silently breaks the resume of every run that exists. Never update these numbers.
  EXPECT_THAT(first_values(Permutation(60000, 0, 0), 8),
              testing::ElementsAre(44208, 39920, 57982, 44246, 39687, 33446, 45514, 49738));
}

TEST(Permutation, differs_by_seed_and_by_stream) {
  // 36 (seed, stream) pairs. Seeds and streams that were added would give only 11 orders.
  std::set<std::vector<std::uint64_t>> orders;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    for (std::uint64_t stream = 0; stream < 6; ++stream) {
      orders.insert(first_values(Permutation(1000, seed, stream), 1000));
    }
  }
  EXPECT_EQ(orders.size(), 36U);
}

TEST(Permutation, leaves_few_samples_in_place_or_beside_their_neighbour) {
  // A random order of n values has about 1 fixed point and about 2 pairs of neighbours; a weak round function has many.
  const auto values = first_values(Permutation(10000, 1, 0), 10000);
  int fixed = 0;
  int neighbours = 0;
  for (std::size_t i = 1; i < values.size(); ++i) {
    fixed += values[i] == i ? 1 : 0;
    neighbours += values[i] == values[i - 1] + 1 || values[i] + 1 == values[i - 1] ? 1 : 0;
  }
  EXPECT_LE(fixed, 8);
  EXPECT_LE(neighbours, 12);
}

TEST(Permutation, serves_a_data_set_far_larger_than_memory_could_list) {
  constexpr std::uint64_t kSize = std::uint64_t{1} << 62U;
  const auto values = first_values(Permutation(kSize, 0, 0), 1000);
  EXPECT_THAT(values, testing::Each(testing::Lt(kSize)));
  EXPECT_EQ(std::set(values.begin(), values.end()).size(), values.size());
  EXPECT_THAT(first_values(Permutation(1'000'000'000, 0, 0), 1000), testing::Each(testing::Lt(1'000'000'000U)));
}

}  // namespace
}  // namespace lockstep
