// SPDX-License-Identifier: Apache-2.0
#include "comm/process_ranks.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "shm/memory_limits.hpp"
#include "shm/shm_world.hpp"

namespace lockstep::testing {
namespace {

using Arenas = std::vector<std::shared_ptr<comm::shm::Arena>>;

struct Pipe {
  FileDescriptor read_end;
  FileDescriptor write_end;
  Pipe() {
    std::array<int, 2> ends{};
    if (pipe(ends.data()) != 0) std::perror("pipe"), std::exit(2);
    read_end = FileDescriptor(ends[0]);
    write_end = FileDescriptor(ends[1]);
  }
};

Communicator make_world(int rank, const Arenas& arenas, const Pipe& pids, std::chrono::milliseconds timeout) {
  std::vector<comm::Peer> peers(arenas.size());
  std::vector<FileDescriptor> files;
  std::vector<int> watched;
  for (int peer = 0; peer < static_cast<int>(arenas.size()); ++peer) {
    pid_t pid = 0;
    if (read(pids.read_end.get(), &pid, sizeof pid) != static_cast<ssize_t>(sizeof pid)) _exit(3);
    peers[static_cast<std::size_t>(peer)] = {.host = "here", .pid = pid, .node = 0, .local_rank = peer};
    files.emplace_back(fcntl(arenas[static_cast<std::size_t>(peer)]->file().get(), F_DUPFD_CLOEXEC, 0));
    if (peer != rank) watched.push_back(peer);
  }
  auto watch = std::make_unique<comm::PeerWatch>(peers, watched);
  return {comm::shm::make_shm_world(rank, peers, arenas[static_cast<std::size_t>(rank)], files, std::move(watch),
                                    comm::shm::usable_cpus()),
          "world", timeout};
}

}  // namespace

std::vector<pid_t> start_process_ranks(int ranks, const std::function<int(Communicator& world)>& body,
                                       std::chrono::milliseconds timeout) {
  Arenas arenas;
  for (int rank = 0; rank < ranks; ++rank) arenas.push_back(comm::shm::make_world_arena());
  const std::vector<Pipe> pids(static_cast<std::size_t>(ranks));
  std::vector<pid_t> children;
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t child = fork();
    if (child != 0) {
      children.push_back(child);
      continue;
    }
    int code = 1;
    try {
      Communicator world = make_world(rank, arenas, pids[static_cast<std::size_t>(rank)], timeout);
      code = body(world);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
    }
    _exit(code);
  }
  for (const Pipe& to : pids) {
    for (const pid_t child : children) {
      if (write(to.write_end.get(), &child, sizeof child) != static_cast<ssize_t>(sizeof child)) std::abort();
    }
  }
  return children;
}

}  // namespace lockstep::testing
