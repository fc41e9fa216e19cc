// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "lockstep/base/error.hpp"

namespace lockstep::comm {

// Ends this process at once, as internal: prints the error of this rank, leaves an exit record, _exit. From any thread.
[[noreturn]] void end_process(ErrorText text);

// Ends this process when a native call that has no deadline of its own (MPI_Init, MPI_Finalize) does not return in
// time, by end_process(). Lives on the stack around the call.
class DeadlineGuard {
 public:
  DeadlineGuard(std::string call, std::chrono::milliseconds timeout);
  DeadlineGuard(const DeadlineGuard&) = delete;
  DeadlineGuard& operator=(const DeadlineGuard&) = delete;
  ~DeadlineGuard();

 private:
  void watch();
  const std::string call_;
  const std::chrono::milliseconds timeout_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool done_ = false;   // guarded by mutex_
  std::thread thread_;  // last: it stops first
};

}  // namespace lockstep::comm
