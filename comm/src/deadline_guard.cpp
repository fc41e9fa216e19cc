// SPDX-License-Identifier: Apache-2.0
#include "deadline_guard.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <cstdio>

#include "lockstep/base/environment.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/exit_record.hpp"
#include "lockstep/base/host.hpp"

namespace lockstep::comm {

DeadlineGuard::DeadlineGuard(std::string call, std::chrono::milliseconds timeout)
    : call_(std::move(call)), timeout_(timeout), thread_([this] { watch(); }) {
  pthread_setname_np(thread_.native_handle(), "lockstep-watch");  // at most 15 characters
}

DeadlineGuard::~DeadlineGuard() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  ended_.notify_all();
  thread_.join();
}

void DeadlineGuard::watch() {
  std::unique_lock lock(mutex_);
  if (ended_.wait_for(lock, timeout_, [this] { return done_; })) return;
  const std::string rank =
      environment_variable("OMPI_COMM_WORLD_RANK").value_or(environment_variable("PMIX_RANK").value_or("?"));
  const std::string ranks = environment_variable("OMPI_COMM_WORLD_SIZE").value_or("?");
  const std::string host = host_name();
  const std::string cause = fmt::format("{}: not finished after {:.1f} s: a rank has not come, is stopped or is dead",
                                        call_, timeout_.count() / 1000.0);
  std::fprintf(stderr, "error: [rank %s/%s %s] %s\n", rank.c_str(), ranks.c_str(), host.c_str(), cause.c_str());
  if (const auto folder = environment_variable("LOCKSTEP_EXIT_DIR"); folder && rank != "?") {
    write_exit_record(*folder, {.rank = std::stoi(rank),
                                .host = host,
                                .pid = getpid(),
                                .code = static_cast<int>(ExitCode::internal),
                                .cause = cause});
  }
  _exit(static_cast<int>(ExitCode::internal));
}

}  // namespace lockstep::comm
