// SPDX-License-Identifier: Apache-2.0
#include "lockstep/monitor/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace lockstep::monitor {
namespace {

constexpr std::chrono::milliseconds kRedrawInterval{100};
constexpr double kNewWeight = 0.1;  // of the newest step in the rate
constexpr std::string_view kClearLine = "\r\x1b[2K";
constexpr int kNarrowestBar = 4;  // narrower says nothing
constexpr int kUsualWidth = 80;

// "0:32", "1:02:03"
std::string duration_text(double seconds) {
  const auto total = static_cast<std::int64_t>(std::llround(seconds));
  const auto hours = total / 3600;
  const auto minutes = total / 60 % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60)
                   : fmt::format("{}:{:02}", minutes, total % 60);
}

// How many of `parts` equal parts are done, rounded down: full only at the end.
std::int64_t parts_done(const ProgressState& state, std::int64_t parts) {
  return std::clamp<std::int64_t>(state.step, 0, state.total_steps) * parts / state.total_steps;
}

// "epoch 2/5  step 940", "pack  sample 940"
std::string position_text(const ProgressState& state) {
  if (!state.task.empty()) return fmt::format("{}  {} {}", state.task, state.unit, state.step);
  if (state.epochs <= 0) return fmt::format("epoch {}  step {}", state.epoch + 1, state.step);
  return fmt::format("epoch {}/{}  step {}", std::min(state.epoch + 1, state.epochs), state.epochs, state.step);
}

int terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kUsualWidth;
}

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

std::string progress_line(const ProgressState& state, double seconds_per_step) {
  std::string line = position_text(state);
  if (state.total_steps > 0) {
    line += fmt::format("/{}  {}%", state.total_steps, parts_done(state, 100));
  }
  if (!std::isnan(state.loss)) line += fmt::format("  loss {:.3g}", state.loss);
  if (state.samples_per_second > 0.0) line += fmt::format("  {:.0f} samples/s", state.samples_per_second);
  if (state.total_steps > 0 && seconds_per_step > 0.0) {
    const auto steps_left = std::max<std::int64_t>(0, state.total_steps - state.step);
    line += "  ETA " + duration_text(static_cast<double>(steps_left) * seconds_per_step);
  }
  return line;
}

std::string progress_bar(const ProgressState& state, double seconds_per_step, int width) {
  auto line = progress_line(state, seconds_per_step);
  const auto columns = width - static_cast<int>(line.size()) - 3;  // brackets and a space
  if (state.total_steps <= 0 || columns < kNarrowestBar) return line.substr(0, static_cast<std::size_t>(width));
  const auto full = parts_done(state, columns);
  return fmt::format("[{:#<{}}{:.<{}}] {}", "", full, "", columns - full, line);
}

Progress::Progress(bool terminal, std::chrono::seconds plain_interval)
    : terminal_(terminal), plain_interval_(plain_interval) {}

Progress::~Progress() { clear(); }

void Progress::update(const ProgressState& state) {
  const auto now = Clock::now();
  const auto steps = state.step - last_step_;
  const bool first = last_step_ < 0;
  const bool last = state.total_steps > 0 && state.step >= state.total_steps;
  if (!first && steps > 0) {
    const auto newest = std::chrono::duration<double>(now - last_update_).count() / static_cast<double>(steps);
    seconds_per_step_ = seconds_per_step_ == 0.0 ? newest : std::lerp(seconds_per_step_, newest, kNewWeight);
  }
  last_update_ = now;
  last_step_ = state.step;

  const Clock::duration interval = terminal_ ? Clock::duration(kRedrawInterval) : Clock::duration(plain_interval_);
  if (!first && !last && now - last_shown_ < interval) return;
  last_shown_ = now;
  if (terminal_) {
    print(fmt::format("{}{}", kClearLine, progress_bar(state, seconds_per_step_, terminal_width() - 1)));
    bar_visible_ = true;
  } else {
    print(progress_line(state, seconds_per_step_) + "\n");
  }
}

void Progress::pause() { paused_at_ = Clock::now(); }

void Progress::resume() { last_update_ += Clock::now() - paused_at_; }

void Progress::clear() {
  if (!bar_visible_) return;
  print(kClearLine);
  bar_visible_ = false;
}

}  // namespace lockstep::monitor
