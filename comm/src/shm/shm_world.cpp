// SPDX-License-Identifier: Apache-2.0
#include "shm_world.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cassert>
#include <utility>

#include "../number_nodes.hpp"
#include "memory_limits.hpp"
#include "shm_backend.hpp"

namespace lockstep::comm::shm {
namespace {

constexpr std::uint64_t kFirstChannel = sizeof(Doorbell);

std::unique_ptr<Backend> make_backend(std::shared_ptr<HostGroup> group) {
  const std::vector<std::uint64_t> channels(static_cast<std::size_t>(group->world_size()), kFirstChannel);
  return std::make_unique<ShmBackend>(std::move(group), channels);
}

}  // namespace

std::shared_ptr<Arena> make_world_arena(int world_size) {
  auto arena = std::make_shared<Arena>();
  [[maybe_unused]] const std::uint64_t channel = ShmBackend::make_channel(*arena, world_size);
  assert(channel == kFirstChannel);
  return arena;
}

std::unique_ptr<Backend> make_shm_world(int rank, std::vector<Peer> peers, std::shared_ptr<Arena> arena,
                                        const std::vector<FileDescriptor>& files, std::unique_ptr<PeerWatch> watch,
                                        int cpus) {
  std::vector<std::shared_ptr<Mapping>> mappings;
  for (std::size_t peer = 0; peer < files.size(); ++peer) {
    const bool own = static_cast<int>(peer) == rank;
    mappings.push_back(own ? arena->shared_mapping() : std::make_shared<Mapping>(files[peer]));
  }
  return make_backend(std::make_shared<HostGroup>(rank, std::move(peers), std::move(arena), std::move(mappings),
                                                  std::move(watch), cpus));
}

std::string several_hosts(const std::vector<Peer>& peers) {
  for (std::size_t rank = 0; rank < peers.size(); ++rank) {
    if (peers[rank].node == peers[0].node) continue;
    return fmt::format("the ranks are on several hosts: rank 0 on {}, rank {} on {}", peers[0].host, rank,
                       peers[rank].host);
  }
  return "";
}

UsageError shm_refused(std::string why_not) {
  return UsageError({.what = "comm.backend=shm",
                     .why = std::move(why_not),
                     .fix = "leave comm.backend out: shm is taken where it can be, else mpi"});
}

std::vector<std::unique_ptr<Backend>> make_shm_threads(int world_size, const std::vector<int>& nodes) {
  std::vector<std::shared_ptr<Arena>> arenas;
  std::vector<std::shared_ptr<Mapping>> mappings;
  std::vector<Peer> peers;
  for (int rank = 0; rank < world_size; ++rank) {
    arenas.push_back(make_world_arena(world_size));
    mappings.push_back(arenas.back()->shared_mapping());
    const int node = nodes.empty() ? 0 : nodes[static_cast<std::size_t>(rank)];
    peers.push_back({.host = "localhost", .pid = getpid(), .node = node});
  }
  number_nodes(peers);
  std::vector<std::unique_ptr<Backend>> backends;
  for (int rank = 0; rank < world_size; ++rank) {
    backends.push_back(make_backend(std::make_shared<HostGroup>(rank, peers, arenas[static_cast<std::size_t>(rank)],
                                                                mappings, nullptr, usable_cpus())));
  }
  return backends;
}

}  // namespace lockstep::comm::shm
