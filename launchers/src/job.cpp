// SPDX-License-Identifier: Apache-2.0
#include "job.hpp"

#include <fmt/format.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "child.hpp"

namespace lockstep::launchers {
namespace {

// Passes on a request to stop.
void pass_on(StopRequests& requests, int signal, pid_t child) {
  switch (requests.add(signal)) {
    case StopRequests::Means::save:
      kill(child, SIGUSR1);
      break;
    case StopRequests::Means::end:
      kill(child, SIGTERM);  // mpirun then ends the ranks within 2 s and cleans up behind them
      break;
    case StopRequests::Means::kill:
      kill(-child, SIGKILL);
      break;
  }
}

}  // namespace

void say(const std::string& line) noexcept {
  signal(SIGPIPE, SIG_IGN);
  std::fprintf(stderr, "lockstep: %s\n", line.c_str());
}

StopRequests::Means StopRequests::add(int signal) {
  switch (++count_) {
    case 1:
      end_.stop_signal = signal;
      say(fmt::format("{}: stopping the job after a checkpoint; once more ends it without", strsignal(signal)));
      return Means::save;
    case 2:
      end_.killed = true;
      say(fmt::format("{}: ending the job", strsignal(signal)));
      return Means::end;
    default:
      return Means::kill;
  }
}

JobEnd run_job(const std::vector<std::string>& command) {
  const BlockedSignals signals;
  const pid_t child = spawn({.command = command}, signals);
  JobEnd end;
  StopRequests requests(end);
  while (true) {
    const int signal = signals.wait().value();
    if (signal == SIGUSR2) {  // not a request to stop: mpirun forwards it, and ranks write their flight recorders
      kill(child, SIGUSR2);
      continue;
    }
    if (signal != SIGCHLD) {
      pass_on(requests, signal, child);
      continue;
    }
    int status = 0;
    if (waitpid(child, &status, WNOHANG) != child) continue;  // SIGCHLD also tells of a stop
    end.status = shell_status(status);
    return end;
  }
}

}  // namespace lockstep::launchers
