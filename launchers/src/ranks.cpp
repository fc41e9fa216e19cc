// SPDX-License-Identifier: Apache-2.0
#include "ranks.hpp"

#include <sys/wait.h>

#include <chrono>
#include <csignal>

#include "lockstep/base/error.hpp"

namespace lockstep::launchers {
namespace {

using Clock = std::chrono::steady_clock;

// Peers see a death within a millisecond, and one of them has said so 0.3 s later.
constexpr auto kToSpeak = std::chrono::milliseconds(1500);
constexpr auto kToLeave = std::chrono::milliseconds(1500);  // from SIGTERM to SIGKILL

class RanksOfJob {
 public:
  ~RanksOfJob() { send(SIGKILL); }

  void start(const std::vector<Child>& ranks) {
    for (const Child& rank : ranks) pids_.push_back(spawn(rank, signals_));
    running_ = ranks.size();
  }

  JobEnd run() {
    while (running_ > 0) {
      const auto signal = signals_.wait(next_);
      if (!signal) {
        end_ranks();
      } else if (*signal == SIGCHLD) {
        reap();
      } else if (*signal == SIGUSR2) {
        send(SIGUSR2);  // not a request to stop: ranks write their flight recorders
      } else {
        pass_on(*signal);
      }
    }
    return end_;
  }

 private:
  void send(int signal) {
    for (const pid_t pid : pids_) {
      if (pid > 0) kill(-pid, signal);
    }
  }

  // SIGTERM, then SIGKILL.
  void end_ranks() {
    send(ending_ ? SIGKILL : SIGTERM);
    send(SIGCONT);  // a stopped one would not hear it
    next_ = ending_ ? std::nullopt : std::optional(Clock::now() + kToLeave);
    ending_ = true;
  }

  void pass_on(int signal) {
    switch (requests_.add(signal)) {
      case StopRequests::Means::save:
        send(SIGUSR1);
        break;
      case StopRequests::Means::end:
        if (!ending_) end_ranks();
        break;
      case StopRequests::Means::kill:
        send(SIGKILL);
        break;
    }
  }

  void reap() {
    siginfo_t ended{};
    // The process is looked at before it is taken from the table, while its number still means its group.
    while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid != 0) {
      int status = 0;
      if (ended.si_code != CLD_EXITED || ended.si_status != 0) kill(-ended.si_pid, SIGKILL);  // what it had started
      waitpid(ended.si_pid, &status, 0);
      for (std::size_t rank = 0; rank < pids_.size(); ++rank) {
        if (pids_[rank] == ended.si_pid) note(static_cast<int>(rank), shell_status(status));
      }
      ended = {};
    }
  }

  void note(int rank, int status) {
    pids_[static_cast<std::size_t>(rank)] = 0;
    --running_;
    if (status == 0 || ending_) return;  // what comes after the end of the job was asked for is our doing
    constexpr int kVictim = static_cast<int>(ExitCode::victim);
    if (end_.rank < 0 || (end_.status == kVictim && status != kVictim)) {
      end_.rank = rank;
      end_.status = status;
    }
    if (!next_) next_ = Clock::now() + kToSpeak;
  }

  const BlockedSignals signals_;
  std::vector<pid_t> pids_;  // by rank; 0: has ended
  std::size_t running_ = 0;
  JobEnd end_;
  StopRequests requests_{end_};
  std::optional<Clock::time_point> next_;  // when to go on ending the ranks
  bool ending_ = false;
};

}  // namespace

JobEnd run_ranks(const std::vector<Child>& ranks) {
  RanksOfJob job;
  job.start(ranks);
  return job.run();
}

}  // namespace lockstep::launchers
