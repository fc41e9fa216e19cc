// SPDX-License-Identifier: Apache-2.0
// The seeds decide the bits of dropout and augmentation: a change here changes every run.
#include "seeds.hpp"

#include <gmock/gmock.h>

#include <set>

namespace lockstep::testing {
namespace {

TEST(Seeds, mix_as_splitmix64_does) {
  EXPECT_EQ(mix_bits(kGoldenGamma), 0xe220a8397b1dcdafULL);  // the first two outputs for seed 0 and 1 in the paper's code
  EXPECT_EQ(mix_bits(1 + kGoldenGamma), 0x910a2dec89025cc1ULL);
}

TEST(Seeds, have_the_bits_that_earlier_runs_had) {
  EXPECT_EQ(run_seed(42), 0xbdd732262feb6e95ULL);
  EXPECT_EQ(run_seed(-1), 0xe4d971771b652c20ULL);
  EXPECT_EQ(micro_batch_seed(42, 0, 0), 0x6310bf04d8207f46ULL);
  EXPECT_EQ(micro_batch_seed(42, 0, 1), 0xb682ee25ce24109eULL);
  EXPECT_EQ(micro_batch_seed(42, 1, 0), 0x93be8420bb55b94cULL);
  EXPECT_EQ(micro_batch_seed(7, 1000, 3), 0xa451e68add765fd1ULL);
}

TEST(Seeds, differ_between_neighbouring_runs_steps_and_micro_batches) {
  std::set<std::uint64_t> seeds;
  for (std::int64_t seed = 0; seed < 10; ++seed) {
    for (std::int64_t step = 0; step < 10; ++step) {
      for (int k = 0; k < 10; ++k) seeds.insert(micro_batch_seed(seed, step, k));
    }
  }
  EXPECT_EQ(seeds.size(), 1000U);
}

}  // namespace
}  // namespace lockstep::testing
