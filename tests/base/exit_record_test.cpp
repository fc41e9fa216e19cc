// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/exit_record.hpp"

#include <gmock/gmock.h>

#include "lockstep/base/file.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

using test::TemporaryDirectory;

TEST(ExitRecord, reads_back_what_was_written) {
  const TemporaryDirectory folder;
  write_exit_record(folder.path(), {.rank = 1,
                                    .world_size = 4,
                                    .host = "n07",
                                    .pid = 4711,
                                    .code = 74,
                                    .cause = "write \"x\":\nNo space left",
                                    .died_rank = 2,
                                    .time_nanoseconds = 1'700'000'000'123'456'789});
  const auto records = read_exit_records(folder.path());
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].rank, 1);
  EXPECT_EQ(records[0].world_size, 4);
  EXPECT_EQ(records[0].host, "n07");
  EXPECT_EQ(records[0].pid, 4711);
  EXPECT_EQ(records[0].code, 74);
  EXPECT_EQ(records[0].cause, "write \"x\":\nNo space left");
  EXPECT_EQ(records[0].died_rank, 2);
  EXPECT_EQ(records[0].time_nanoseconds, 1'700'000'000'123'456'789);
}

TEST(ExitRecord, fills_in_the_time_when_none_is_given) {
  const TemporaryDirectory folder;
  write_exit_record(folder.path(), {.rank = 0});
  EXPECT_GT(read_exit_records(folder.path()).at(0).time_nanoseconds, 0);
}

TEST(ExitRecord, are_ordered_by_rank_and_unreadable_ones_left_out) {
  const TemporaryDirectory folder;
  for (const int rank : {10, 2, 0}) write_exit_record(folder.path(), {.rank = rank});
  write_file_durably(folder / "exit-1.json", "{\"rank\": 1, ");
  write_file_durably(folder / "exit-3.json", "{\"rank\": \"three\"}");
  write_file_durably(folder / "other.json", "{}");
  std::vector<int> ranks;
  for (const auto& record : read_exit_records(folder.path())) ranks.push_back(record.rank);
  EXPECT_THAT(ranks, testing::ElementsAre(0, 2, 10));
}

TEST(ExitRecord, writing_never_throws) {
  // It runs while the process dies of another error, which it must not hide.
  const TemporaryDirectory folder;
  write_exit_record(folder / "gone", {.rank = 0});
  EXPECT_FALSE(std::filesystem::exists(folder / "gone"));
  write_exit_record(folder.path(), {.rank = 1, .cause = "no UTF-8: \xff"});
  EXPECT_EQ(read_exit_records(folder.path()).size(), 1U);
  EXPECT_TRUE(read_exit_records(folder / "gone").empty());
}

TEST(FirstCause, is_the_earliest_cause_even_after_earlier_victims) {
  const std::vector<ExitRecord> records{{.rank = 0, .code = 1, .time_nanoseconds = 10},
                                        {.rank = 1, .code = 74, .time_nanoseconds = 30},
                                        {.rank = 2, .code = 70, .time_nanoseconds = 20},
                                        {.rank = 3, .code = 0, .time_nanoseconds = 5}};
  EXPECT_EQ(first_cause(records), &records[2]);
}

TEST(FirstCause, is_the_earliest_victim_when_the_cause_left_no_record) {
  const std::vector<ExitRecord> records{{.rank = 0, .code = 1, .time_nanoseconds = 20},
                                        {.rank = 2, .code = 1, .died_rank = 1, .time_nanoseconds = 10}};
  EXPECT_EQ(first_cause(records), &records[1]);
}

TEST(FirstCause, is_null_when_all_ranks_succeeded) {
  EXPECT_EQ(first_cause({}), nullptr);
  EXPECT_EQ(first_cause({{.rank = 0, .code = 0, .time_nanoseconds = 1}}), nullptr);
}

}  // namespace
}  // namespace lockstep
