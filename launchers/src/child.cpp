// SPDX-License-Identifier: Apache-2.0
#include "child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "lockstep/base/environment.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::launchers {
namespace {

std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const auto& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

void run_on(const std::vector<int>& cpus) {
  if (cpus.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set);
}

// In the child. Only calls that are safe between fork and exec.
[[noreturn]] void become(const Child& child, char* const* arguments, char* const* environment,
                         const BlockedSignals& signals, pid_t parent) {
  setpgid(0, 0);  // Ctrl-C in a terminal then reaches us alone, and we decide what the job is told
  prctl(PR_SET_PDEATHSIG, child.signal_if_we_die);
  if (getppid() != parent) _exit(128 + SIGTERM);  // we died before the line above
  run_on(child.cpus);
  signals.restore();
  signal(SIGPIPE, child.outlives_its_reader ? SIG_IGN : SIG_DFL);  // say() ignores it, and that would be inherited
  const int null = open("/dev/null", O_RDONLY);
  if (null >= 0) dup2(null, STDIN_FILENO);
  execvpe(arguments[0], arguments, environment);
  _exit(127);
}

}  // namespace

BlockedSignals::BlockedSignals() {
  sigemptyset(&waited_);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD}) sigaddset(&waited_, signal);
  sigprocmask(SIG_BLOCK, &waited_, &before_);
}

void BlockedSignals::restore() const { sigprocmask(SIG_SETMASK, &before_, nullptr); }

std::optional<int> BlockedSignals::wait(std::optional<std::chrono::steady_clock::time_point> deadline) const {
  while (true) {
    timespec left{};
    if (deadline) {
      const auto ns = std::max<std::chrono::nanoseconds>(*deadline - std::chrono::steady_clock::now(), {});
      left = {static_cast<time_t>(ns.count() / 1'000'000'000), static_cast<long>(ns.count() % 1'000'000'000)};
    }
    siginfo_t info{};
    const int signal = deadline ? sigtimedwait(&waited_, &info, &left) : sigwaitinfo(&waited_, &info);
    if (signal >= 0) return signal;
    if (errno == EAGAIN) return std::nullopt;
  }
}

pid_t spawn(const Child& child, const BlockedSignals& signals) {
  const auto environment = environment_with(child.environment);
  const auto arguments = pointers_to(child.command);
  const auto variables = pointers_to(environment);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) become(child, arguments.data(), variables.data(), signals, parent);
  if (pid < 0) throw IoError({.what = fmt::format("starting {}", child.command.front()), .why = std::strerror(errno)});
  setpgid(pid, pid);  // also here, so that it holds before the first signal is passed on
  return pid;
}

int shell_status(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

}  // namespace lockstep::launchers
