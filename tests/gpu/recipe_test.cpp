// SPDX-License-Identifier: Apache-2.0
#include "gpu/recipe.hpp"

#include <gmock/gmock.h>

#include <cstdlib>

namespace lockstep::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

TEST(Recipe, makes_ranks_of_an_old_nccl_look_like_two_hosts) {
  EXPECT_EQ(recipe_for(22809, 0).letter, 'A');
  EXPECT_THAT(recipe_for(22809, 0).settings, Contains(Setting{"NCCL_HOSTID", "vnode0"}));
  EXPECT_THAT(recipe_for(22999, 1).settings, Contains(Setting{"NCCL_HOSTID", "vnode1"}));
}

TEST(Recipe, uses_the_switch_of_a_new_nccl) {
  EXPECT_EQ(recipe_for(23000, 1).letter, 'B');
  EXPECT_THAT(recipe_for(23000, 1).settings,
              ElementsAre(Setting{"NCCL_MULTI_RANK_GPU_ENABLE", "1"}, Setting{"NCCL_NVLS_ENABLE", "0"},
                          Setting{"NCCL_MAX_CTAS", "2"}));
}

TEST(Recipe, prints_the_version_and_every_setting) {
  EXPECT_EQ(to_string(recipe_for(23007, 0), 23007),
            "recipe B for NCCL 2.30.7: NCCL_MULTI_RANK_GPU_ENABLE=1 NCCL_NVLS_ENABLE=0 NCCL_MAX_CTAS=2");
}

TEST(Recipe, leaves_what_the_user_has_set) {
  setenv("LOCKSTEP_RECIPE_TEST", "theirs", 1);
  unsetenv("LOCKSTEP_RECIPE_TEST_2");
  apply({'A', {{"LOCKSTEP_RECIPE_TEST", "ours"}, {"LOCKSTEP_RECIPE_TEST_2", "ours"}}});
  EXPECT_STREQ(std::getenv("LOCKSTEP_RECIPE_TEST"), "theirs");
  EXPECT_STREQ(std::getenv("LOCKSTEP_RECIPE_TEST_2"), "ours");
}

}  // namespace
}  // namespace lockstep::testing
