// SPDX-License-Identifier: Apache-2.0
#include "comm/shm_processes.hpp"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "comm/process_ranks.hpp"

namespace lockstep::testing {

std::shared_ptr<void> shared_bytes(std::size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::perror("mmap"), std::abort();
  return {memory, [bytes](void* mapped) { munmap(mapped, bytes); }};
}

ShmProcesses::ShmProcesses(int ranks, std::chrono::milliseconds timeout,
                           const std::function<int(Communicator& world)>& body) {
  std::fflush(stdout);  // else each child would print what waits there
  pids_ = start_process_ranks(
      ranks,
      [&body](Communicator& world) {
        const int code = body(world);
        std::fflush(stdout);
        return code;
      },
      timeout);
}

ShmProcesses::~ShmProcesses() {
  for (const pid_t pid : pids_) {
    if (pid != 0) kill(pid, SIGKILL), waitpid(pid, nullptr, 0);
  }
}

void ShmProcesses::signal(int rank, int number) const {
  if (const pid_t pid = pids_[static_cast<std::size_t>(rank)]; pid != 0) kill(pid, number);
}

std::optional<int> ShmProcesses::wait(int rank, std::chrono::steady_clock::time_point deadline) {
  pid_t& pid = pids_[static_cast<std::size_t>(rank)];
  int status = 0;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > deadline) return std::nullopt;
    usleep(100);
  }
  pid = 0;
  return status;
}

}  // namespace lockstep::testing
