// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/mixture.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Mixture, stays_within_one_sample_of_the_weights_at_every_prefix) {
  std::mt19937_64 random(1);
  for (const int sources : {2, 3, 5, 17, 100}) {
    for (int set = 0; set < 20; ++set) {
      std::vector<std::int64_t> weights;
      for (int i = 0; i < sources; ++i)
        weights.push_back(1 + static_cast<std::int64_t>(random() % (set < 10 ? 10 : 1'000'000)));
      const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
      Mixture mixture(weights);
      for (int n = 1; n <= 2000; ++n) {
        (void)mixture.next();
        for (std::size_t i = 0; i < weights.size(); ++i) {
          const double share = static_cast<double>(n) * static_cast<double>(weights[i]) / total;
          ASSERT_LE(std::abs(static_cast<double>(mixture.counts()[i]) - share), 1 - 1.0 / (2 * sources - 2) + 1e-6)
              << "source " << i << " of " << sources << " after " << n;
        }
      }
    }
  }
}

TEST(Mixture, gives_every_source_its_whole_share_in_a_period) {
  Mixture mixture({3, 1, 2});
  for (int i = 0; i < 6; ++i) (void)mixture.next();
  EXPECT_THAT(mixture.counts(), ElementsAre(3, 1, 2));
}

TEST(Mixture, resumed_at_any_count_goes_on_as_if_it_had_not_stopped) {
  Mixture whole({7, 2, 5});
  std::vector<std::vector<std::int64_t>> counts;
  std::vector<std::size_t> chosen;
  for (int n = 0; n < 200; ++n) {
    counts.push_back(whole.counts());
    chosen.push_back(whole.next());
  }
  for (std::size_t at = 0; at < counts.size(); ++at) {
    Mixture resumed({7, 2, 5});
    resumed.resume(counts[at]);
    for (std::size_t n = at; n < counts.size(); ++n) ASSERT_EQ(resumed.next(), chosen[n]) << "resumed at " << at;
  }
}

TEST(Mixture, is_exact_with_the_largest_weights_after_long_runs) {
  const std::int64_t large = (std::int64_t{1} << 47) - 1;
  Mixture mixture({large, large, 2});
  mixture.resume(std::vector<std::int64_t>{large, large, 2});  // a whole period: nobody is behind
  Mixture fresh({large, large, 2});
  for (int n = 0; n < 1000; ++n) ASSERT_EQ(mixture.next(), fresh.next());
}

TEST(Mixture, refuses_what_cannot_be) {
  const auto message = [](const char* part) { return ThrowsMessage<UsageError>(HasSubstr(part)); };
  EXPECT_THAT([] { Mixture({}); }, message("0 of them"));
  EXPECT_THAT([] { Mixture({1, 0}); }, message("from 1 on"));
  EXPECT_THAT([] { Mixture({std::numeric_limits<std::int64_t>::max(), 1}); }, message("2^48"));
  Mixture mixture({1, 1});
  EXPECT_THAT([&] { mixture.resume(std::vector<std::int64_t>{5, 1}); }, message("not its share"));
  EXPECT_THAT([&] { mixture.resume(std::vector<std::int64_t>{5}); }, message("another number"));
}

TEST(WholeWeights, keep_their_ratios) {
  EXPECT_THAT(whole_weights(std::vector<double>{0.5, 0.25, 0.25}), ElementsAre(2, 1, 1));
  const auto thirds = whole_weights(std::vector<double>{1, 2});
  EXPECT_NEAR(static_cast<double>(thirds[1]) / static_cast<double>(thirds[0]), 2.0, 1e-8);
  for (const double bad : {0.0, -1.0, std::numeric_limits<double>::infinity(), std::nan("")}) {
    EXPECT_THROW((void)whole_weights(std::vector<double>{1.0, bad}), UsageError) << bad;
  }
}

}  // namespace
}  // namespace lockstep
