// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>

#include "comm/matrix.hpp"
#include "support/rank_world.hpp"

namespace lockstep::testing {
namespace {

class RankMatrix : public ::testing::TestWithParam<std::string> {
 protected:
  void check(const std::vector<MatrixCell>& cells) { check_cells(world(GetParam()), cells); }
  [[nodiscard]] static unsigned seed() { return static_cast<unsigned>(world().world_size()) + 100; }
};

TEST_P(RankMatrix, reductions_give_the_bits_of_the_oracle) { check(every_pair_of_factors(all_reductions(), seed())); }
TEST_P(RankMatrix, moves_give_the_bits_of_their_source) { check(every_pair_of_factors(all_moves(), seed())); }
TEST_P(RankMatrix, calls_without_meaning_are_refused) { check_refusals(world(GetParam())); }
TEST_P(RankMatrix, sums_over_fixed_leaves_are_the_same_at_every_number_of_ranks) {
  check_fixed_leaves(world(GetParam()));
}
TEST_P(RankMatrix, a_tensor_in_pieces_has_the_bits_of_the_whole) { check_splits(world(GetParam())); }

// By tests/comm/matrix_all.
TEST_P(RankMatrix, DISABLED_all_reductions_give_the_bits_of_the_oracle) { check(all_reductions()); }
TEST_P(RankMatrix, DISABLED_all_moves_give_the_bits_of_their_source) { check(all_moves()); }

INSTANTIATE_TEST_SUITE_P(Processes, RankMatrix, ::testing::ValuesIn(backends()),
                         [](const auto& instance) { return instance.param; });

}  // namespace
}  // namespace lockstep::testing
