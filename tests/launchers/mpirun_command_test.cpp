// SPDX-License-Identifier: Apache-2.0
#include "mpirun_command.hpp"

#include <gmock/gmock.h>

#include "lockstep/base/error.hpp"

namespace lockstep::launchers {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(MpirunCommand, binds_ranks_to_cores_when_there_is_one_for_each) {
  const MpirunJob job{.ranks = 2, .cores = 2, .program = {"./net", "train.lr=0.1"}};
  EXPECT_THAT(mpirun_command(job), ElementsAre("mpirun", "-q", "-np", "2", "--bind-to", "core", "--map-by", "core",
                                               "./net", "train.lr=0.1"));
}

TEST(MpirunCommand, oversubscribes_unbound_when_ranks_outnumber_cores) {
  const MpirunJob job{.ranks = 3, .cores = 2, .program = {"./net"}};
  EXPECT_THAT(mpirun_command(job),
              ElementsAre("mpirun", "-q", "-np", "3", "--oversubscribe", "--bind-to", "none", "./net"));
}

TEST(MpirunCommand, allows_root_only_when_we_are_root) {
  EXPECT_THAT(shell_line(mpirun_command({.as_root = true, .program = {"./net"}})), HasSubstr("--allow-run-as-root"));
  EXPECT_THAT(shell_line(mpirun_command({.as_root = false, .program = {"./net"}})), Not(HasSubstr("root")));
}

TEST(MpirunCommand, tells_ranks_where_to_leave_exit_records) {
  EXPECT_THAT(shell_line(mpirun_command({.exit_dir = "/tmp/a b", .program = {"./net"}})),
              HasSubstr("-x 'LOCKSTEP_EXIT_DIR=/tmp/a b' ./net"));
}

TEST(MpirunCommand, refuses_a_lone_colon_which_mpirun_would_take_for_its_own) {
  EXPECT_THROW((void)mpirun_command({.program = {"./net", ":"}}), UsageError);
}

TEST(ShellLine, leaves_plain_arguments_and_quotes_the_rest) {
  EXPECT_EQ(shell_line({"./net", "data.path=/a-b/c_d.h5"}), "./net data.path=/a-b/c_d.h5");
  EXPECT_EQ(shell_line({"a b", "", "*", "$HOME", "it's"}), R"('a b' '' '*' '$HOME' 'it'\''s')");
}

}  // namespace
}  // namespace lockstep::launchers
