// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "../peer_watch.hpp"
#include "arena.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::shm {

// One rank's view of the ranks on its host: their memory, their processes, and how to wait for them. Shared by a
// communicator and its duplicates.
class HostGroup {
 public:
  // `mappings` by rank; ours is that of `arena`. `cpus`: how many the ranks may use together.
  HostGroup(int rank, std::vector<Peer> peers, std::shared_ptr<Arena> arena,
            std::vector<std::shared_ptr<Mapping>> mappings, std::unique_ptr<PeerWatch> watch, int cpus);

  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] int world_size() const noexcept { return static_cast<int>(peers_.size()); }
  [[nodiscard]] const std::vector<Peer>& peers() const noexcept { return peers_; }
  [[nodiscard]] Arena& arena() noexcept { return *arena_; }
  [[nodiscard]] std::byte* memory_of(int rank, std::uint64_t offset) const noexcept {
    return mappings_[static_cast<std::size_t>(rank)]->at(offset);
  }

  // Call after every store that a peer may wait for.
  void wake_peers() noexcept;
  // Pauses, yields or sleeps, the longer the more has been `waited`. Throws BackendFailure if a peer has died.
  void idle(std::chrono::nanoseconds waited);
  // Remembers whom we hold responsible, so that peers who see us leave do not blame us.
  void blame(int culprit) noexcept;
  // How many ranks have reported a failure.
  [[nodiscard]] std::atomic<std::uint32_t>& claims() const noexcept;

 private:
  void sleep(std::chrono::microseconds at_most);
  void throw_if_peer_died();

  int rank_;
  std::vector<Peer> peers_;
  std::shared_ptr<Arena> arena_;
  std::vector<std::shared_ptr<Mapping>> mappings_;
  std::unique_ptr<PeerWatch> watch_;  // null: ranks are threads
  bool oversubscribed_;               // then a spinning rank keeps its peers from running
  std::uint32_t seen_rings_ = 0;
  std::chrono::steady_clock::time_point last_watch_{};
  bool seen_dead_ = false;  // some rank, once
};

}  // namespace lockstep::comm::shm
