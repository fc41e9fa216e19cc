// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

#include "loader/philox.hpp"
#include "lockstep/dataloader/sample.hpp"

namespace lockstep {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::Ge;

std::vector<std::uint32_t> first_bits(const SampleKey& key) {
  SampleRandom random(key);
  std::vector<std::uint32_t> bits;
  for (int i = 0; i < 8; ++i) bits.push_back(random.bits());
  return bits;
}

// The three vectors of philox4x32 with 10 rounds in Random123's tests/kat_vectors.
TEST(Philox, gives_random123s_known_answers) {
  EXPECT_THAT(philox({0, 0, 0, 0}, {0, 0}), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

// These bits are part of the promise: a run that goes on augments as before.
TEST(SampleRandom, counts_blocks_under_pass_and_sample_with_the_seed_as_key) {
  const SampleKey key{.seed = 0x1122334455667788, .pass = 5, .sample = 0x0000000900000007};
  const auto first = philox({0, 5, 7, 9}, {0x55667788, 0x11223344});
  const auto second = philox({1, 5, 7, 9}, {0x55667788, 0x11223344});
  EXPECT_THAT(first_bits(key),
              ElementsAre(first[0], first[1], first[2], first[3], second[0], second[1], second[2], second[3]));
}

TEST(SampleRandom, differs_with_seed_pass_and_sample) {
  std::set<std::vector<std::uint32_t>> all;
  for (std::uint64_t seed : {0ULL, 1ULL, 1ULL << 32}) {
    for (std::int64_t pass : {0, 1}) {
      for (std::int64_t sample : {std::int64_t{0}, std::int64_t{1}, std::int64_t{1} << 32}) {
        all.insert(first_bits({.seed = seed, .pass = pass, .sample = sample}));
      }
    }
  }
  EXPECT_EQ(all.size(), 3 * 2 * 3);
}

TEST(SampleRandom, uniform_is_in_the_half_open_interval_with_mean_one_half) {
  SampleRandom random({.seed = 1});
  double sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    const double value = random.uniform();
    ASSERT_TRUE(value >= 0 && value < 1) << value;
    sum += value;
  }
  EXPECT_NEAR(sum / 10'000, 0.5, 0.015);  // five standard deviations
}

TEST(SampleRandom, below_reaches_every_value_evenly) {
  SampleRandom random({.seed = 2});
  std::array<int, 6> counts{};
  for (int i = 0; i < 6'000; ++i) ++counts.at(random.below(6));
  EXPECT_THAT(counts, Each(Ge(850)));  // five standard deviations below 1000
  EXPECT_EQ(random.below(1), 0U);
  EXPECT_LT(random.below((1ULL << 63U) + 1), (1ULL << 63U) + 1);
}

TEST(SampleRandom, normal_has_mean_0_and_variance_1) {
  SampleRandom random({.seed = 3});
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < 10'000; ++i) {
    const double value = random.normal();
    ASSERT_TRUE(std::isfinite(value));
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / 10'000, 0.0, 0.05);
  EXPECT_NEAR(squares / 10'000, 1.0, 0.08);
}

}  // namespace
}  // namespace lockstep
