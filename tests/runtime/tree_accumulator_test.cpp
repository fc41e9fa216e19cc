// SPDX-License-Identifier: Apache-2.0
#include "tree_accumulator.hpp"

#include <gmock/gmock.h>

#include "lockstep/comm/local.hpp"

namespace lockstep::testing {
namespace {

// 1e8 + 1 − 1e8 depends on the order of addition in float32.
float leaf_value(std::int64_t leaf) {
  constexpr float kValues[] = {1e8F, 1.0F, -1e8F, 3.0F, 0.1F, 1e7F, -7.0F};
  return kValues[leaf % 7];
}

float tree_sum(Range leaves) {
  if (leaves.size() == 1) return leaf_value(leaves.first);
  const std::int64_t middle = leaves.first + left_leaves(leaves.size());
  return tree_sum({leaves.first, middle}) + tree_sum({middle, leaves.last});
}

// Used twice, because a step must not see what the one before left.
void expect_partials(TreeAccumulator& sums, Range owned, std::int64_t total) {
  sums.begin(owned.first, total);
  for (std::int64_t leaf = owned.first; leaf < owned.last; ++leaf) {
    sums.leaf().fill_(leaf_value(leaf));
    sums.close_leaf();
  }
  const auto partials = sums.partials();
  const auto expected = subtrees_in(owned, total);
  ASSERT_EQ(partials.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(partials[i].range(), expected[i]);
    EXPECT_EQ(reinterpret_cast<const float*>(partials[i].data)[2], tree_sum(expected[i]));
  }
  EXPECT_EQ(static_cast<const void*>(partials[0].data), sums.result().const_data_ptr());
}

TEST(TreeAccumulator, sums_the_leaves_of_every_rank_as_the_tree_does) {
  run_local_ranks(1, [](Communicator& world) {
    for (std::int64_t total = 1; total <= 13; ++total) {
      for (std::int64_t world_size = 1; world_size <= total; ++world_size) {
        TreeAccumulator sums(world, 3, DType::float32);
        for (std::int64_t rank = 0; rank < world_size; ++rank) {
          SCOPED_TRACE(::testing::Message() << "rank " << rank << " of " << world_size << ", " << total << " leaves");
          expect_partials(sums, even_split(total, world_size, rank), total);
        }
      }
    }
  });
}

TEST(TreeAccumulator, keeps_one_tensor_for_one_leaf) {
  run_local_ranks(1, [](Communicator& world) {
    TreeAccumulator sums(world, 4, DType::float64);
    sums.begin(2, 5);
    const void* const memory = sums.leaf().const_data_ptr();
    sums.close_leaf();
    EXPECT_EQ(sums.result().const_data_ptr(), memory);
    EXPECT_EQ(sums.result().scalar_type(), at::kDouble);
  });
}

}  // namespace
}  // namespace lockstep::testing
