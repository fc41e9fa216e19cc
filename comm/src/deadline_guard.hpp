// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace lockstep::comm {

// Ends this process when a native call that has no deadline of its own (MPI_Init, MPI_Finalize) does not return in
// time: prints who waited for what, leaves an exit record, _exit. Lives on the stack around the call.
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
