// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "../peer_watch.hpp"
#include "arena.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::shm {

// One rank's view of the ranks of a communicator: their memory, their processes, and how to wait for them.
class HostGroup {
 public:
  // `mappings` by rank; ours is that of `arena`. `cpus`: how many the ranks may use together.
  HostGroup(int rank, std::vector<Peer> peers, std::shared_ptr<Arena> arena,
            std::vector<std::shared_ptr<Mapping>> mappings, std::unique_ptr<PeerWatch> watch, int cpus);
  // `members` alone, which include us, in the order given: the same memory, and CPUs still shared with all.
  [[nodiscard]] std::shared_ptr<HostGroup> part(const std::vector<int>& members) const;

  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] int world_size() const noexcept { return static_cast<int>(peers_.size()); }
  [[nodiscard]] const std::vector<Peer>& peers() const noexcept { return peers_; }
  [[nodiscard]] bool oversubscribed() const noexcept { return oversubscribed_; }  // fewer CPUs than ranks
  [[nodiscard]] Arena& arena() noexcept { return *arena_; }
  [[nodiscard]] std::byte* memory_of(int rank, std::uint64_t offset) const noexcept {
    return mappings_[static_cast<std::size_t>(rank)]->at(offset);
  }
  [[nodiscard]] const std::shared_ptr<Mapping>& mapping_of(int rank) const noexcept {
    return mappings_[static_cast<std::size_t>(rank)];
  }

  // Before much of a peer's memory, up to `end`, is used.
  void prepare(int rank, std::uint64_t end) noexcept { mappings_[static_cast<std::size_t>(rank)]->prepare_until(end); }

  // Call after every store that a peer may wait for.
  void wake_peers() noexcept;
  // The same, where only one peer may wait.
  void wake(int peer) noexcept;
  // Pauses, yields or sleeps, the longer the more has been `waited`. Throws BackendFailure if a peer has died.
  void idle(std::chrono::nanoseconds waited);
  // Sleeps until a peer wakes us, at most a millisecond, whoever has died.
  void doze();
  [[nodiscard]] std::vector<int> dead_ranks() const;
  // Remembers whom we hold responsible, so that peers who see us leave do not blame us.
  void blame(int culprit) noexcept;
  void forget_blame() noexcept;

 private:
  void announce() noexcept;      // before peers are rung
  void ring(int peer) noexcept;  // wakes it if it sleeps
  // To sleep takes two calls: the first says so to the peers, and the caller looks once more in between.
  void sleep(std::chrono::nanoseconds at_most) noexcept;
  void arm() noexcept;
  void disarm() noexcept;
  void throw_if_peer_died();

  int rank_;
  std::vector<Peer> peers_;
  std::vector<int> numbers_;  // by rank: the rank in the first communicator
  std::shared_ptr<Arena> arena_;
  std::vector<std::shared_ptr<Mapping>> mappings_;
  std::unique_ptr<PeerWatch> watch_;  // null: ranks are threads
  bool oversubscribed_;               // then a spinning rank keeps its peers from running
  bool armed_ = false;                // our doorbell says that we sleep
  std::uint32_t seen_rings_ = 0;
  std::chrono::steady_clock::time_point last_watch_{};
  bool death_seen_ = false;  // of some rank, once
};

}  // namespace lockstep::comm::shm
