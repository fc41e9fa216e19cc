// SPDX-License-Identifier: Apache-2.0
#include "verdict.hpp"

#include <gmock/gmock.h>

#include <csignal>

namespace lockstep::launchers {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

ExitRecord cause_of(int rank, int code, const std::string& cause, std::int64_t time = 1) {
  return {
      .rank = rank, .world_size = 2, .host = "n07", .pid = 9, .code = code, .cause = cause, .time_nanoseconds = time};
}

ExitRecord victim_of(int rank, int died_rank) {
  return {.rank = rank,
          .world_size = 2,
          .host = "n07",
          .code = 1,
          .cause = "peer died",
          .died_rank = died_rank,
          .time_nanoseconds = 1};
}

TEST(Verdict, says_nothing_after_success) {
  const auto verdict = judge({.status = 0}, {cause_of(0, 0, ""), cause_of(1, 0, "")}, 2);
  EXPECT_EQ(verdict.exit_code, 0);
  EXPECT_EQ(verdict.text, "");
}

TEST(Verdict, returns_the_code_of_the_cause_and_not_that_of_a_victim) {
  const auto verdict = judge({.status = 1}, {victim_of(0, -1), cause_of(1, 74, "disk full", 5)}, 2);
  EXPECT_EQ(verdict.exit_code, 74);
  EXPECT_EQ(verdict.text, "first cause: rank 1 (n07): disk full");
}

TEST(Verdict, names_a_killed_rank_from_the_record_of_its_peer) {
  const auto verdict = judge({.status = 128 + SIGKILL}, {victim_of(0, 1)}, 4);
  EXPECT_EQ(verdict.exit_code, 137);
  EXPECT_THAT(verdict.text, StartsWith("rank 1 was killed by signal 9 (Killed)"));
}

TEST(Verdict, names_a_killed_rank_as_the_only_one_without_a_record) {
  const auto verdict = judge({.status = 128 + SIGSEGV}, {cause_of(0, 0, "")}, 2);
  EXPECT_EQ(verdict.exit_code, 139);
  EXPECT_EQ(verdict.text, "rank 1 was killed by signal 11 (Segmentation fault)");
}

TEST(Verdict, does_not_guess_which_of_several_silent_ranks_was_killed) {
  EXPECT_THAT(judge({.status = 139}, {cause_of(1, 0, "")}, 3).text, StartsWith("one of the ranks 0, 2 was killed"));
  EXPECT_THAT(judge({.status = 139}, {}, 3).text, StartsWith("a rank was killed"));
}

TEST(Verdict, says_when_the_work_was_done_before_a_rank_died) {
  const std::vector<ExitRecord> done{cause_of(0, 0, ""), cause_of(1, 0, "")};
  EXPECT_THAT(judge({.status = 137}, done, 2).text,
              StartsWith("while all ranks were leaving (MPI_Finalize), their work done, one of them was killed"));
  const auto verdict = judge({.status = 1}, done, 2);
  EXPECT_EQ(verdict.exit_code, 1);
  EXPECT_THAT(verdict.text, HasSubstr("one of them ended without saying why"));
}

TEST(Verdict, tells_how_to_learn_who_was_killed_if_nobody_could_say) {
  EXPECT_THAT(judge({.status = 137}, {}, 2).text, HasSubstr("without -q"));
}

TEST(Verdict, names_the_rank_where_the_launcher_knows_it) {
  EXPECT_THAT(judge({.status = 137, .rank = 2}, {}, 4).text, StartsWith("rank 2 was killed by signal 9"));
  EXPECT_THAT(judge({.status = 9, .rank = 2}, {}, 4).text, StartsWith("rank 2 ended with status 9"));
}

TEST(Verdict, keeps_the_status_of_a_program_that_leaves_no_records) {
  const auto verdict = judge({.status = 9}, {}, 2);
  EXPECT_EQ(verdict.exit_code, 9);
  EXPECT_THAT(verdict.text, HasSubstr("without -q"));
}

TEST(Verdict, is_saved_after_a_stop_with_a_checkpoint) {
  const auto verdict = judge({.status = 75, .stop_signal = SIGINT}, {cause_of(0, 75, ""), cause_of(1, 75, "")}, 2);
  EXPECT_EQ(verdict.exit_code, 75);
  EXPECT_THAT(verdict.text, StartsWith("saved"));
}

// A rank that could not save must not hide behind the others, which could, even if they left earlier.
TEST(Verdict, is_the_failure_of_one_rank_although_the_others_saved) {
  const auto verdict = judge({.status = 75}, {cause_of(0, 75, "", 1), cause_of(1, 74, "disk full", 2)}, 2);
  EXPECT_EQ(verdict.exit_code, 74);
}

TEST(Verdict, says_that_a_job_stopped_too_early_saved_nothing) {
  const auto verdict = judge({.status = 128 + SIGUSR1, .stop_signal = SIGINT}, {}, 2);
  EXPECT_EQ(verdict.exit_code, 130);
  EXPECT_THAT(verdict.text, HasSubstr("before it could save"));
}

TEST(Verdict, is_the_signal_after_a_second_request_to_stop) {
  EXPECT_EQ(judge({.status = 1, .stop_signal = SIGTERM, .killed = true}, {}, 2).exit_code, 143);
}

TEST(Verdict, shortens_a_cause_that_the_program_has_printed_in_full) {
  EXPECT_EQ(judge({.status = 70}, {cause_of(0, 70, "[rank 0/2 n07] boom\nstack")}, 2).text,
            "first cause: rank 0 (n07): boom");
  std::string long_cause;
  for (int i = 0; i < 300; ++i) long_cause += "×";  // two bytes each: must not be cut within one
  EXPECT_THAT(judge({.status = 70}, {cause_of(0, 70, "a" + long_cause)}, 2).text, ::testing::EndsWith("×…"));
}

}  // namespace
}  // namespace lockstep::launchers
