// SPDX-License-Identifier: Apache-2.0
#include "run_metrics.hpp"

#include <gmock/gmock.h>

#include "lockstep/comm/local.hpp"

namespace lockstep::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

using Means = std::vector<std::pair<std::string, double>>;

// A step of `samples` samples in three micro-batches; micro-batch k logs 0.1 · (k + 1).
Means means_of(Communicator& world, std::int64_t samples) {
  const Range owned = even_split(3, world.world_size(), world.rank());
  StepMetrics metrics;
  metrics.begin_step({.step = 0, .micro_batches = 3, .owned = owned, .samples = samples});
  for (auto k = static_cast<int>(owned.first); k < owned.last; ++k) {
    const std::int64_t own_samples = even_split(samples, 3, k).size();
    metrics.begin_micro_batch(k, own_samples);
    if (own_samples == 0) continue;  // the user's code does not run
    metrics.log("loss", 0.1 * (k + 1));
    metrics.log("accuracy", k % 2);
  }
  return metrics.means(world);
}

TEST(StepMetrics, are_means_over_samples) {
  run_local_ranks(1, [](Communicator& world) {
    // Micro-batches of 2, 2 and 3 samples.
    EXPECT_THAT(means_of(world, 7),
                ElementsAre(Pair("loss", ::testing::DoubleNear((0.1 * 2 + 0.2 * 2 + 0.3 * 3) / 7, 1e-12)),
                            Pair("accuracy", ::testing::DoubleNear(2.0 / 7, 1e-12))));
  });
}

TEST(StepMetrics, are_the_same_numbers_at_every_world_size) {
  for (const std::int64_t samples : {1, 2, 7, 9}) {
    Means expected;
    run_local_ranks(1, [&](Communicator& world) { expected = means_of(world, samples); });
    for (const int world_size : {2, 3}) {
      run_local_ranks(world_size, [&](Communicator& world) {
        EXPECT_EQ(means_of(world, samples), expected) << samples << " samples on " << world_size << " ranks";
      });
    }
  }
}

TEST(StepMetrics, count_micro_batches_alike_where_their_samples_are_not_known) {
  run_local_ranks(2, [](Communicator& world) {
    StepMetrics metrics;
    metrics.begin_step({.step = 0, .micro_batches = 2, .owned = even_split(2, 2, world.rank()), .samples = 0});
    metrics.begin_micro_batch(world.rank(), 1);
    metrics.log("loss", world.rank() == 0 ? 1.0 : 4.0);
    EXPECT_THAT(metrics.means(world), ElementsAre(Pair("loss", 2.5)));
  });
}

TEST(StepMetrics, forget_the_step_before) {
  run_local_ranks(1, [](Communicator& world) {
    StepMetrics metrics;
    metrics.begin_step({});
    metrics.log("loss", 1.0);
    metrics.begin_step({});
    EXPECT_TRUE(metrics.means(world).empty());
  });
}

}  // namespace
}  // namespace lockstep::testing
