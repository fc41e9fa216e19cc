// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "lockstep/comm/communicator.hpp"

namespace lockstep::testing {

// Zeroed memory that a process shares with those that it forks later.
[[nodiscard]] std::shared_ptr<void> shared_bytes(std::size_t bytes);

template <class T>
[[nodiscard]] std::shared_ptr<T[]> shared_array(int elements) {
  const std::shared_ptr<void> bytes = shared_bytes(static_cast<std::size_t>(elements) * sizeof(T));
  return {bytes, static_cast<T*>(bytes.get())};
}

// The ranks of a communicator over shm as processes, without a launcher, so that a test can kill and stop them.
class ShmProcesses {
 public:
  // What `body` returns is the process's exit code; 1 if it throws. Returns when all ranks have formed the
  // communicator.
  ShmProcesses(int ranks, std::chrono::milliseconds timeout, const std::function<int(Communicator& world)>& body);
  ShmProcesses(const ShmProcesses&) = delete;
  ShmProcesses& operator=(const ShmProcesses&) = delete;
  ~ShmProcesses();  // kills those that are left

  void signal(int rank, int number) const;
  // The status of a process that has ended; nothing if it has not by `deadline`.
  [[nodiscard]] std::optional<int> wait(int rank, std::chrono::steady_clock::time_point deadline);

 private:
  std::vector<pid_t> pids_;  // 0: has ended
};

}  // namespace lockstep::testing
