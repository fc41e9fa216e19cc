// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>

namespace lockstep {

// While it lives, SIGTERM, SIGUSR1 and the first SIGINT set a flag; a second SIGINT kills the process. One at a time:
// the flag is one of the few globals (docs/decisions/0002-globals.md), because a handler can reach nothing else.
class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();
  [[nodiscard]] static bool requested() noexcept;

 private:
  struct sigaction previous_[3];
};

}  // namespace lockstep
