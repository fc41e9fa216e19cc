// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace lockstep::monitor {

struct ProgressState {
  std::string_view task{};  // not empty: "pack", whose steps are counted in `unit`, without epochs
  std::string_view unit = "sample";
  std::int64_t step = 0;         // steps done
  std::int64_t total_steps = 0;  // 0: not known, no ETA
  std::int64_t epoch = 0;        // counted from 0
  std::int64_t epochs = 0;
  double loss = 0.0;  // NaN: not shown
  double samples_per_second = 0.0;
};

// One line of text for `state`: "epoch 2/5  step 940/2345  40%  loss 0.312  4812 samples/s  ETA 0:32". Pure.
[[nodiscard]] std::string progress_line(const ProgressState& state, double seconds_per_step);

// A bar that fills `width` columns: "[#####.....]" in front of the line. Pure.
[[nodiscard]] std::string progress_bar(const ProgressState& state, double seconds_per_step, int width);

// Shows progress on standard error: a bar redrawn at most ten times a second on a terminal, else a plain line at most
// every `plain_interval`; the first and the last step always. One writer a job: rank 0. The rate is an exponentially
// weighted mean of the time between calls of update(), in which pause() and resume() bracket what does not count
// (saving, evaluating).
class Progress {
 public:
  explicit Progress(bool terminal, std::chrono::seconds plain_interval = std::chrono::seconds(10));
  ~Progress();  // clears the bar
  void update(const ProgressState& state);
  void pause();
  void resume();
  void clear();  // takes the bar off the screen, so that a log line can be printed

 private:
  using Clock = std::chrono::steady_clock;
  bool terminal_;
  std::chrono::seconds plain_interval_;
  Clock::time_point last_update_{};
  Clock::time_point last_shown_{};
  Clock::time_point paused_at_{};
  std::int64_t last_step_ = -1;
  double seconds_per_step_ = 0.0;
  bool bar_visible_ = false;
};

}  // namespace lockstep::monitor
