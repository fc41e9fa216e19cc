// SPDX-License-Identifier: Apache-2.0
#include "job.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "lockstep/base/error.hpp"

namespace lockstep::launchers {
namespace {

// Blocks the signals that we wait for, as long as it lives: they are taken by sigwaitinfo, so that no handler is
// needed.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigemptyset(&waited_);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD}) sigaddset(&waited_, signal);
    sigprocmask(SIG_BLOCK, &waited_, &before_);
  }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  ~BlockedSignals() { restore(); }
  void restore() const { sigprocmask(SIG_SETMASK, &before_, nullptr); }
  [[nodiscard]] int wait() const {
    siginfo_t info{};
    int signal = -1;
    while ((signal = sigwaitinfo(&waited_, &info)) < 0 && errno == EINTR) {
    }
    return signal;
  }

 private:
  sigset_t waited_{};
  sigset_t before_{};
};

// In the child. Only calls that are safe between fork and exec.
[[noreturn]] void become(char* const* arguments, const BlockedSignals& signals, pid_t parent) {
  setpgid(0, 0);  // Ctrl-C in a terminal then reaches us alone, and we decide what the job is told
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(128 + SIGTERM);  // we died before the line above
  signals.restore();
  signal(SIGPIPE, SIG_DFL);  // ignored by say(), and that would be inherited
  const int null = open("/dev/null", O_RDONLY);
  if (null >= 0) dup2(null, STDIN_FILENO);
  execvp(arguments[0], arguments);
  _exit(127);
}

pid_t spawn(const std::vector<std::string>& command, const BlockedSignals& signals) {
  std::vector<char*> arguments;
  for (const auto& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) become(arguments.data(), signals, parent);
  if (child < 0) throw IoError({.what = fmt::format("starting {}", command.front()), .why = std::strerror(errno)});
  setpgid(child, child);  // also here, so that it holds before the first signal is passed on
  return child;
}

// Passes on the `count`-th request to stop.
void pass_on(int count, pid_t child, JobEnd& end, int signal) {
  if (count == 1) {
    end.stop_signal = signal;
    kill(child, SIGUSR1);
    say(fmt::format("{}: stopping the job after a checkpoint; once more ends it without", strsignal(signal)));
    return;
  }
  end.killed = true;
  if (count == 2) {
    kill(child, SIGTERM);  // mpirun then ends the ranks within 2 s and cleans up behind them
    say(fmt::format("{}: ending the job", strsignal(signal)));
  } else {
    kill(-child, SIGKILL);
  }
}

}  // namespace

void say(const std::string& line) noexcept {
  signal(SIGPIPE, SIG_IGN);
  std::fprintf(stderr, "lockstep: %s\n", line.c_str());
}

JobEnd run_job(const std::vector<std::string>& command) {
  const BlockedSignals signals;
  const pid_t child = spawn(command, signals);
  JobEnd end;
  int requests = 0;
  while (true) {
    const int signal = signals.wait();
    if (signal == SIGUSR2) {  // not a request to stop: mpirun forwards it, and ranks write their flight recorders
      kill(child, SIGUSR2);
      continue;
    }
    if (signal != SIGCHLD) {
      pass_on(++requests, child, end, signal);
      continue;
    }
    int status = 0;
    if (waitpid(child, &status, WNOHANG) != child) continue;  // SIGCHLD also tells of a stop
    end.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return end;
  }
}

}  // namespace lockstep::launchers
