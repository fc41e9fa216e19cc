// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/comm/communicator.hpp"

namespace lockstep {

// How far the ranks are with one phase of a save, as they tell each other. No rank waits for a disk here, so that none
// waits long for another.
class SaveProgress {
 public:
  enum class State { at_work, done, stuck };
  static constexpr std::int64_t kDone = -1;

  explicit SaveProgress(std::chrono::milliseconds timeout) : timeout_(timeout) {}

  // Collective. `own`: kDone, or a number that changes while this rank's work moves. Done: all are. Stuck: rank 0 may
  // give up, and no number has changed for the timeout.
  [[nodiscard]] State exchange(Communicator& world, std::int64_t own, bool may_give_up);

  // Another phase, or somebody begins to wait: the time before does not count.
  void begin_anew();

  // "the disk has not moved for 120 s: rank 3 (n07), <doing>", of all ranks that were not done.
  [[nodiscard]] std::string stuck_text(const Communicator& world, std::string_view doing) const;

 private:
  using Clock = std::chrono::steady_clock;
  std::chrono::milliseconds timeout_;
  std::vector<std::int64_t> told_;  // by rank, when they last spoke
  Clock::time_point moved_ = Clock::now();
};

}  // namespace lockstep
