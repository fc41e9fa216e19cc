// SPDX-License-Identifier: Apache-2.0
#include "lockstep/comm/tree.hpp"

#include <gmock/gmock.h>

namespace lockstep {
namespace {

using ::testing::ElementsAre;

TEST(Tree, splits_at_the_largest_power_of_two_below) {
  EXPECT_EQ(left_leaves(2), 1);
  EXPECT_EQ(left_leaves(3), 2);
  EXPECT_EQ(left_leaves(4), 2);
  EXPECT_EQ(left_leaves(5), 4);
  EXPECT_EQ(left_leaves(8), 4);
  EXPECT_EQ(left_leaves(9), 8);
}

TEST(Tree, knows_its_nodes) {
  EXPECT_TRUE(is_subtree({0, 7}, 7));
  EXPECT_TRUE(is_subtree({0, 4}, 7));
  EXPECT_TRUE(is_subtree({4, 7}, 7));
  EXPECT_TRUE(is_subtree({6, 7}, 7));
  EXPECT_FALSE(is_subtree({1, 3}, 7)) << "not aligned";
  EXPECT_FALSE(is_subtree({4, 8}, 7)) << "past the end";
  EXPECT_FALSE(is_subtree({5, 7}, 7));
  EXPECT_FALSE(is_subtree({3, 3}, 7));
}

TEST(Tree, gives_a_rank_the_maximal_nodes_of_its_leaves) {
  EXPECT_THAT(subtrees_in({0, 4}, 4), ElementsAre(Range{0, 4}));
  EXPECT_THAT(subtrees_in({1, 4}, 4), ElementsAre(Range{1, 2}, Range{2, 4}));
  EXPECT_THAT(subtrees_in({3, 6}, 7), ElementsAre(Range{3, 4}, Range{4, 6}));
  EXPECT_THAT(subtrees_in({2, 2}, 4), ElementsAre());
}

// Together the ranks' partial sums are exactly the leaves, in order, and each is a node.
TEST(Tree, partials_of_all_ranks_tile_the_leaves) {
  for (std::int64_t total = 1; total <= 40; ++total) {
    for (std::int64_t world_size = 1; world_size <= total; ++world_size) {
      std::int64_t next = 0;
      for (std::int64_t rank = 0; rank < world_size; ++rank) {
        for (const Range& node : subtrees_in(even_split(total, world_size, rank), total)) {
          EXPECT_TRUE(is_subtree(node, total));
          EXPECT_EQ(node.first, next);
          next = node.last;
        }
      }
      EXPECT_EQ(next, total);
    }
  }
}

}  // namespace
}  // namespace lockstep
