// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <vector>

namespace lockstep::launchers {

// Blocks the signals that a launcher waits for, as long as it lives: they are taken by wait(), so that no handler is
// needed.
class BlockedSignals {
 public:
  BlockedSignals();
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  ~BlockedSignals() { restore(); }
  void restore() const;
  // The next of SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 and SIGCHLD; nothing when `deadline` has passed.
  [[nodiscard]] std::optional<int> wait(std::optional<std::chrono::steady_clock::time_point> deadline = {}) const;

 private:
  sigset_t waited_{};
  sigset_t before_{};
};

struct Child {
  std::vector<std::string> command;
  std::vector<std::string> environment{};  // changes of ours, as environment_with() takes them
  std::vector<int> cpus{};                 // that it may run on; empty: as we may
  int signal_if_we_die = SIGTERM;
  bool outlives_its_reader = false;  // goes on when nobody reads its output any more
};

// Starts it in a process group of its own, with standard input from /dev/null. Throws IoError if there can be no
// process; one that cannot run the command ends with 127.
[[nodiscard]] pid_t spawn(const Child& child, const BlockedSignals& signals);

// As a shell reports it: the exit status, or 128 + signal.
[[nodiscard]] int shell_status(int wait_status);

}  // namespace lockstep::launchers
