// SPDX-License-Identifier: Apache-2.0
#include "deadline_guard.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <cstdio>
#include <initializer_list>

#include "lockstep/base/environment.hpp"
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
  end_process({.what = call_,
               .why = fmt::format("not finished after {:.1f} s: a rank has not come, is stopped or is dead",
                                  timeout_.count() / 1000.0)});
}

void end_process(ErrorText text) {
  const auto given = [](std::initializer_list<const char*> names) {
    for (const char* const name : names) {
      if (auto value = environment_variable(name)) return *value;
    }
    return std::string("?");
  };
  const std::string rank = given({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "RANK"});
  const std::string ranks = given({"OMPI_COMM_WORLD_SIZE", "WORLD_SIZE"});
  const std::string host = host_name();
  text.who = fmt::format("rank {}/{} {}", rank, ranks, host);
  const Error error(std::move(text));
  std::fprintf(stderr, "error: %s\n", error.what());
  if (const auto folder = environment_variable("LOCKSTEP_EXIT_DIR"); folder && rank != "?") {
    write_exit_record(*folder, {.rank = std::stoi(rank),
                                .host = host,
                                .pid = getpid(),
                                .code = static_cast<int>(ExitCode::internal),
                                .cause = error.what()});
  }
  _exit(static_cast<int>(ExitCode::internal));
}

}  // namespace lockstep::comm
