// SPDX-License-Identifier: Apache-2.0
#include "rank_commands.hpp"

#include <gmock/gmock.h>

#include "mpirun_command.hpp"

namespace lockstep::launchers {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(RankCommands, give_each_rank_a_core_when_there_is_one_for_each) {
  const auto ranks = rank_commands({.ranks = 2, .cores = {{0, 4}, {1, 5}, {2, 6}}, .program = {"./net"}});
  ASSERT_EQ(ranks.size(), 2U);
  EXPECT_THAT(ranks[0].cpus, ElementsAre(0, 4));
  EXPECT_THAT(ranks[1].cpus, ElementsAre(1, 5));
}

TEST(RankCommands, bind_nobody_when_ranks_outnumber_cores) {
  for (const auto& rank : rank_commands({.ranks = 3, .cores = {{0}, {1}}, .program = {"./net"}})) {
    EXPECT_THAT(rank.cpus, IsEmpty());
  }
}

TEST(RankCommands, tell_each_rank_its_place_and_the_name_of_the_job) {
  const auto ranks = rank_commands({.ranks = 2, .name = "secret", .exit_dir = "/tmp/a", .program = {"./net"}});
  EXPECT_THAT(ranks[1].environment, AllOf(Contains("RANK=1"), Contains("WORLD_SIZE=2"), Contains("LOCAL_RANK=1"),
                                          Contains("LOCAL_WORLD_SIZE=2"), Contains("LOCKSTEP_RENDEZVOUS=secret"),
                                          Contains("LOCKSTEP_EXIT_DIR=/tmp/a"), Not(Contains(HasSubstr("TERMINAL")))));
}

TEST(RankCommands, can_be_given_to_a_shell) {
  const Child rank{.command = {"./net", "a b"}, .environment = {"PMI_RANK", "RANK=0"}, .cpus = {0, 4}};
  EXPECT_EQ(shell_line(as_command(rank)), "env -u PMI_RANK RANK=0 taskset -c 0,4 ./net 'a b'");
}

}  // namespace
}  // namespace lockstep::launchers
