// SPDX-License-Identifier: Apache-2.0
#include "lockstep/checkpoint/retention.hpp"

#include <cmath>

#include "lockstep/base/crc32c.hpp"
#include "sample_checkpoint.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;
using Steps = std::vector<std::int64_t>;

// A RetentionPolicy by the metric "eval.accuracy".
struct Rules {
  int last = 0;
  std::int64_t every = 0;
  int best = 0;
  std::uint64_t quota = 0;
  bool larger = true;
};

struct Case {
  const char* name;
  Rules rules;
  Steps removed;
};

// Ten bytes each, in no order; accuracy rises to 0.9 at 400 and 500 and then falls; 700 has none and 800 has NaN.
std::vector<CheckpointSummary> eight() {
  return {{300, 10, 0.7}, {100, 10, 0.5}, {200, 10, 0.6}, {400, 10, 0.9},
          {500, 10, 0.9}, {800, 10, NAN}, {600, 10, 0.8}, {700, 10, std::nullopt}};
}

class Retention : public testing::TestWithParam<Case> {};

TEST_P(Retention, removes_what_no_rule_keeps) {
  const Rules& rules = GetParam().rules;
  const RetentionPolicy policy{.keep_last = rules.last,
                               .keep_every = rules.every,
                               .keep_best = rules.best,
                               .larger_is_better = rules.larger,
                               .quota_bytes = rules.quota};
  EXPECT_EQ(steps_to_remove(eight(), policy), GetParam().removed);
}

INSTANTIATE_TEST_SUITE_P(
    All, Retention,
    testing::Values(Case{"nothing_by_default", {}, {}},
                    Case{"last_one", {.last = 1}, {100, 200, 300, 400, 500, 600, 700}},
                    Case{"last_three", {.last = 3}, {100, 200, 300, 400, 500}},
                    Case{"more_than_there_are", {.last = 9}, {}},
                    Case{"every", {.last = 1, .every = 300}, {100, 200, 400, 500, 700}},
                    Case{"every_of_nothing", {.last = 2, .every = 1000}, {100, 200, 300, 400, 500, 600}},
                    Case{"best_ties_go_to_the_newer", {.last = 1, .best = 1}, {100, 200, 300, 400, 600, 700}},
                    Case{"best_three", {.last = 1, .best = 3}, {100, 200, 300, 700}},
                    Case{"best_without_those_that_have_no_metric", {.last = 1, .best = 7}, {700}},
                    Case{"smallest", {.last = 1, .best = 2, .larger = false}, {300, 400, 500, 600, 700}},
                    Case{"all_rules", {.last = 2, .every = 400, .best = 1}, {100, 200, 300, 600}},
                    Case{"quota_alone", {.quota = 35}, {100, 200, 300, 400, 500}},
                    Case{"quota_that_is_not_reached", {.quota = 80}, {}},
                    Case{"quota_below_one_keeps_the_newest", {.quota = 1}, {100, 200, 300, 400, 500, 600, 700}},
                    Case{"quota_takes_regular_and_best_ones_first",
                         {.last = 3, .every = 200, .best = 1, .quota = 40},
                         {100, 200, 300, 400}},
                    Case{"quota_takes_recent_ones_last",
                         {.last = 3, .every = 200, .best = 1, .quota = 20},
                         {100, 200, 300, 400, 500, 600}}),
    [](const auto& each) { return each.param.name; });

TEST(StepsToRemove, of_none_and_of_one_are_none) {
  const RetentionPolicy strict{.keep_last = 1, .quota_bytes = 1};
  EXPECT_THAT(steps_to_remove({}, strict), IsEmpty());
  const CheckpointSummary only{.step = 1, .bytes = 100};
  EXPECT_THAT(steps_to_remove({&only, 1}, strict), IsEmpty());
}

class ApplyRetention : public testing::Test {
 protected:
  fs::path write(std::int64_t step, double accuracy = 0) {
    SampleState state = small_state(step);
    state.contents.metrics["eval.accuracy"] = accuracy;
    return write_checkpoint(folder_.path(), state.contents);
  }
  [[nodiscard]] Steps steps() const { return list_checkpoints(folder_.path()); }
  Steps keep(int last, std::int64_t verified) { return apply_retention(folder_.path(), {.keep_last = last}, verified); }

  test::TemporaryDirectory folder_;
  fs::path trash_ = folder_.path() / ".trash";
};

TEST_F(ApplyRetention, removes_the_oldest_and_leaves_nothing_of_them) {
  for (const std::int64_t step : {1, 2, 3, 4}) write(step);
  EXPECT_THAT(keep(2, 4), ElementsAre(1, 2));
  EXPECT_THAT(steps(), ElementsAre(4, 3));
  EXPECT_THAT(names_in(trash_), IsEmpty());
  expect_holds(find_checkpoint(folder_.path()).newest_good.value(), small_state(4));
}

TEST_F(ApplyRetention, reads_the_metric_of_each) {
  const double accuracies[] = {0.1, 0.9, 0.3, 0.2};
  for (std::int64_t step = 1; step <= 4; ++step) write(step, accuracies[step - 1]);
  EXPECT_THAT(apply_retention(folder_.path(), {.keep_last = 1, .keep_best = 1}, 4), ElementsAre(1, 3));
}

TEST_F(ApplyRetention, counts_the_bytes_of_each_against_the_quota) {
  for (const std::int64_t step : {1, 2, 3}) write(step);
  const std::uint64_t bytes = Checkpoint::open(folder_.path() / "step-00000003").bytes();
  EXPECT_THAT(apply_retention(folder_.path(), {.quota_bytes = 2 * bytes + 9}, 3), ElementsAre(1));
}

TEST_F(ApplyRetention, removes_nothing_at_or_above_the_verified_step) {
  for (const std::int64_t step : {1, 2, 3, 4}) write(step);
  EXPECT_THAT(keep(1, 2), ElementsAre(1));
  EXPECT_THAT(steps(), ElementsAre(4, 3, 2));
}

TEST_F(ApplyRetention, removes_nothing_if_the_verified_one_does_not_open) {
  for (const std::int64_t step : {1, 2, 3}) write(step);
  fs::remove(folder_.path() / "step-00000003" / "MANIFEST");
  EXPECT_THAT(keep(1, 3), IsEmpty());
  EXPECT_THAT(steps(), ElementsAre(3, 2, 1));
}

TEST_F(ApplyRetention, leaves_damaged_ones_and_those_of_a_newer_schema_alone) {
  for (const std::int64_t step : {1, 2, 3, 4, 5}) write(step);
  flip_bit(folder_.path() / "step-00000001" / "MANIFEST", 20, 0);
  const std::string newer = R"({"schema_version":99})"
                            "\n";
  char crc[32];
  std::snprintf(crc, sizeof crc, "crc32c %08x\n", crc32c(std::as_bytes(std::span(newer))));
  write_text(folder_.path() / "step-00000002" / "MANIFEST", newer + crc);
  EXPECT_THAT(keep(1, 5), ElementsAre(3, 4));
  EXPECT_THAT(steps(), ElementsAre(5, 2, 1));
}

TEST_F(ApplyRetention, does_not_follow_links) {
  const test::TemporaryDirectory elsewhere;
  write_text(elsewhere / "precious", "");
  write(2);
  fs::create_directory_symlink(elsewhere.path(), write(1) / "link");
  fs::create_directory_symlink(elsewhere.path(), folder_.path() / "step-00000000");
  EXPECT_THAT(keep(1, 2), ElementsAre(1));
  EXPECT_THAT(names_in(elsewhere.path()), ElementsAre("precious"));
  EXPECT_TRUE(fs::is_symlink(folder_.path() / "step-00000000"));
}

TEST_F(ApplyRetention, does_not_move_anything_through_a_trash_that_is_a_link) {
  const test::TemporaryDirectory elsewhere;
  write_text(elsewhere / "precious", "");
  fs::create_directory_symlink(elsewhere.path(), trash_);
  write(1);
  write(2);
  EXPECT_THAT(checkpoint_error([&] { keep(1, 2); }), testing::HasSubstr(".trash: that is no folder"));
  remove_unfinished_checkpoints(folder_.path());
  EXPECT_THAT(steps(), ElementsAre(2, 1));
  EXPECT_THAT(names_in(elsewhere.path()), ElementsAre("precious"));
}

TEST_F(ApplyRetention, deletes_what_a_killed_run_had_moved_to_the_trash) {
  for (const std::int64_t step : {1, 2, 3}) write(step);
  fs::create_directory(trash_);
  fs::rename(folder_.path() / "step-00000001", trash_ / "step-00000001-0a0b0c0d");
  EXPECT_THAT(keep(1, 3), ElementsAre(2));
  EXPECT_THAT(names_in(trash_), IsEmpty());
}

TEST_F(ApplyRetention, trash_is_no_checkpoint_and_goes_with_unfinished_ones) {
  fs::create_directory(trash_);
  write(2);
  fs::rename(write(3), trash_ / "step-00000003-0a0b0c0d");
  fs::create_directory(folder_.path() / "step-00000004.tmp-1-00000000");
  EXPECT_EQ(find_checkpoint(folder_.path()).newest_good.value().step(), 2);
  remove_unfinished_checkpoints(folder_.path());
  EXPECT_THAT(names_in(trash_), IsEmpty());
  EXPECT_THAT(steps(), ElementsAre(2));
  EXPECT_THAT(names_in(folder_.path()), ElementsAre(".trash", "LATEST", "step-00000002"));
}

}  // namespace
}  // namespace lockstep
