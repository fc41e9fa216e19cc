// SPDX-License-Identifier: Apache-2.0
#include "comm/shm_processes.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "shm/memory_limits.hpp"
#include "shm/shm_world.hpp"

namespace lockstep::testing {
namespace {

using Arenas = std::vector<std::shared_ptr<comm::shm::Arena>>;

void pause_briefly() { usleep(100); }

Communicator world_of(int rank, const pid_t* pids, const Arenas& arenas, std::chrono::milliseconds timeout) {
  std::vector<comm::Peer> peers;
  std::vector<FileDescriptor> files;
  std::vector<int> watched;
  for (int peer = 0; peer < static_cast<int>(arenas.size()); ++peer) {
    const auto p = static_cast<std::size_t>(peer);
    peers.push_back({.host = "here", .pid = pids[p], .node = 0, .local_rank = peer});
    files.emplace_back(fcntl(arenas[p]->file().get(), F_DUPFD_CLOEXEC, 0));
    if (peer != rank) watched.push_back(peer);
  }
  auto watch = std::make_unique<comm::PeerWatch>(peers, watched);
  return Communicator(comm::shm::make_shm_world(rank, peers, arenas[static_cast<std::size_t>(rank)], files,
                                                std::move(watch), comm::shm::usable_cpus()),
                      "world", timeout);
}

}  // namespace

std::shared_ptr<void> shared_bytes(std::size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::perror("mmap"), std::abort();
  return {memory, [bytes](void* mapped) { munmap(mapped, bytes); }};
}

ShmProcesses::ShmProcesses(int ranks, std::chrono::milliseconds timeout,
                           const std::function<int(Communicator& world)>& body) {
  Arenas arenas;
  for (int rank = 0; rank < ranks; ++rank) arenas.push_back(comm::shm::make_world_arena(ranks));
  const auto pids = shared_array<pid_t>(ranks);
  const auto counters = shared_array<std::atomic<int>>(2);
  std::atomic<int>& started = counters[0];
  std::atomic<int>& ready = counters[1];
  std::fflush(nullptr);
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t child = fork();
    if (child < 0) std::perror("fork"), std::abort();
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      while (started == 0) pause_briefly();
      int code = 1;
      try {
        Communicator world = world_of(rank, pids.get(), arenas, timeout);
        ++ready;
        code = body(world);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
      }
      std::fflush(nullptr);
      _exit(code);
    }
    pids_.push_back(child);
    pids[static_cast<std::ptrdiff_t>(rank)] = child;
  }
  started = 1;
  while (ready < ranks) pause_briefly();
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
    pause_briefly();
  }
  pid = 0;
  return status;
}

}  // namespace lockstep::testing
