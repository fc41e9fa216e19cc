// SPDX-License-Identifier: Apache-2.0
#include "lockstep/monitor/progress.hpp"

#include <gmock/gmock.h>

#include <cmath>

namespace lockstep::monitor {
namespace {

using namespace std::chrono_literals;
using testing::EndsWith;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;

ProgressState state_at(std::int64_t step, std::int64_t total_steps) {
  return {.step = step, .total_steps = total_steps, .epoch = 0, .epochs = 1, .loss = std::nan("")};
}

TEST(ProgressLine, shows_all_that_is_known) {
  const ProgressState state{
      .step = 940, .total_steps = 2345, .epoch = 1, .epochs = 5, .loss = 0.3119, .samples_per_second = 4811.6};
  EXPECT_EQ(progress_line(state, 0.0228), "epoch 2/5  step 940/2345  40%  loss 0.312  4812 samples/s  ETA 0:32");
}

TEST(ProgressLine, leaves_out_what_is_not_known) {
  EXPECT_EQ(progress_line({.step = 940, .epoch = 1, .loss = std::nan("")}, 0.1), "epoch 2  step 940");
  EXPECT_EQ(progress_line(state_at(3, 10), 0.0), "epoch 1/1  step 3/10  30%");
}

TEST(ProgressLine, names_a_task_that_is_not_training) {
  EXPECT_EQ(progress_line({.task = "pack", .step = 5, .total_steps = 20, .loss = std::nan("")}, 1.0),
            "pack  sample 5/20  25%  ETA 0:15");
}

TEST(ProgressLine, percent_is_rounded_down_so_that_100_means_done) {
  EXPECT_THAT(progress_line(state_at(9999, 10000), 0.0), EndsWith("  99%"));
  EXPECT_THAT(progress_line(state_at(29, 100), 0.0), EndsWith("  29%"));
  EXPECT_THAT(progress_line(state_at(100, 100), 0.0), EndsWith("  100%"));
}

TEST(ProgressLine, the_epoch_stays_within_the_epochs_when_the_last_is_done) {
  EXPECT_THAT(progress_line({.step = 10, .epoch = 5, .epochs = 5}, 0.0), StartsWith("epoch 5/5 "));
}

TEST(ProgressLine, time_left_is_minutes_and_seconds_with_hours_when_needed) {
  EXPECT_THAT(progress_line(state_at(0, 9), 1.0), EndsWith("ETA 0:09"));
  EXPECT_THAT(progress_line(state_at(0, 60), 1.0), EndsWith("ETA 1:00"));
  EXPECT_THAT(progress_line(state_at(0, 3599), 1.0), EndsWith("ETA 59:59"));
  EXPECT_THAT(progress_line(state_at(0, 3600), 1.0), EndsWith("ETA 1:00:00"));
  EXPECT_THAT(progress_line(state_at(0, 100), 3661.0), EndsWith("ETA 101:41:40"));
  EXPECT_THAT(progress_line(state_at(20, 10), 1.0), EndsWith("ETA 0:00"));
}

TEST(ProgressBar, fills_the_width_in_front_of_the_line) {
  for (const auto& [step, bar] : {std::pair(0, "[..........] "), {5, "[#####.....] "}, {10, "[##########] "}}) {
    const auto expected = bar + progress_line(state_at(step, 10), 0.0);
    EXPECT_EQ(progress_bar(state_at(step, 10), 0.0, static_cast<int>(expected.size())), expected);
  }
}

TEST(ProgressBar, is_only_the_line_when_the_width_or_the_end_is_not_enough) {
  EXPECT_EQ(progress_bar(state_at(5, 10), 0.0, 30), progress_line(state_at(5, 10), 0.0));
  EXPECT_EQ(progress_bar(state_at(5, 0), 0.0, 100), progress_line(state_at(5, 0), 0.0));
}

TEST(ProgressBar, never_wraps) {
  // A wrapped line cannot be taken back: each redraw would leave one behind.
  for (int width = 0; width < 100; ++width) {
    EXPECT_LE(progress_bar(state_at(5, 10), 0.0, width).size(), static_cast<std::size_t>(width));
  }
}

TEST(Progress, redraws_one_line_on_a_terminal_and_takes_it_off_at_the_end) {
  testing::internal::CaptureStderr();
  { Progress(true).update(state_at(5, 10)); }
  EXPECT_THAT(testing::internal::GetCapturedStderr(), MatchesRegex("\r\x1b\\[2K\\[#+\\.+\\] epoch [^\n]*\r\x1b\\[2K"));
}

TEST(Progress, clear_takes_the_bar_off_once) {
  testing::internal::CaptureStderr();
  Progress progress(true);
  progress.clear();
  progress.update(state_at(5, 10));
  progress.clear();
  progress.clear();
  EXPECT_THAT(testing::internal::GetCapturedStderr(), MatchesRegex("\r\x1b\\[2K[^\r]+\r\x1b\\[2K"));
}

TEST(Progress, prints_plain_lines_where_there_is_no_terminal) {
  testing::internal::CaptureStderr();
  {
    Progress progress(false, 0s);
    progress.update(state_at(5, 10));
    progress.update(state_at(6, 10));
  }
  const auto text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, StartsWith("epoch 1/1  step 5/10  50%\nepoch 1/1  step 6/10  60%"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST(Progress, only_the_first_and_the_last_line_are_shown_within_the_interval) {
  testing::internal::CaptureStderr();
  Progress progress(false, 100h);
  for (const std::int64_t step : {1, 2, 3, 4}) progress.update(state_at(step, 4));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), MatchesRegex("[^\n]*step 1/4[^\n]*\n[^\n]*step 4/4[^\n]*\n"));
}

}  // namespace
}  // namespace lockstep::monitor
