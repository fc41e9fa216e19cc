// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../tree_plan.hpp"
#include "channel.hpp"
#include "host_group.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::shm {

class ShmMove;
class ShmReduction;

// Collectives among ranks of one host through memory that all of them map. Calls of one communicator complete in their
// order; every rank first publishes a line for a call, and all compare all lines before data is touched.
class ShmBackend final : public Backend {
 public:
  // Collective over `group`. `channel_offsets`: where each rank's Channel lies in its arena, ours made by
  // make_channel().
  ShmBackend(std::shared_ptr<HostGroup> group, const std::vector<std::uint64_t>& channel_offsets);
  ~ShmBackend() override;

  // Local. A fresh channel in `arena`.
  [[nodiscard]] static std::uint64_t make_channel(Arena& arena);

  [[nodiscard]] std::string_view name() const noexcept override { return "shm"; }
  [[nodiscard]] int rank() const noexcept override { return group_->rank(); }
  [[nodiscard]] int world_size() const noexcept override { return group_->world_size(); }
  [[nodiscard]] const std::vector<Peer>& peers() const noexcept override { return group_->peers(); }
  [[nodiscard]] OperationPtr start(const Request& request) override;
  void idle(std::chrono::nanoseconds waited) override;
  [[nodiscard]] std::shared_ptr<std::byte> allocate(std::size_t bytes) override;
  [[nodiscard]] std::unique_ptr<Backend> split(int color, int key) override;
  void fail(const Failure& failure) noexcept override;
  [[nodiscard]] bool claim_first_failure() noexcept override { return group_->claims().fetch_add(1) == 0; }
  void close() override {}

 private:
  friend class ShmCall;
  friend class ShmMove;
  friend class ShmReduction;

  void recycle(ShmMove* call);
  void recycle(ShmReduction* call);
  [[nodiscard]] Channel& own() const noexcept { return *channels_[static_cast<std::size_t>(rank())]; }
  [[nodiscard]] Channel& of(int peer) const noexcept { return *channels_[static_cast<std::size_t>(peer)]; }
  // Where a small contribution to call `index` lies.
  [[nodiscard]] std::byte* slot(int rank, std::uint64_t index) const noexcept {
    return of(rank).slots[index % kLines].data();
  }
  void throw_if_a_peer_gave_up() const;

  std::shared_ptr<HostGroup> group_;
  std::vector<Channel*> channels_;            // by rank
  std::vector<std::uint64_t> peer_finished_;  // calls that each peer had completed when last looked
  std::uint64_t started_ = 0;                 // calls so far: the index of the next one
  std::uint64_t finished_ = 0;                // calls that are complete here: the index of the oldest that is not
  std::uint64_t chunks_ = 0;                  // staged chunks of all calls so far, the same on every rank
  TreePlanner planner_;
  std::vector<std::unique_ptr<ShmReduction>> idle_reductions_;  // kept for the next calls
  std::vector<std::unique_ptr<ShmMove>> idle_moves_;
};

}  // namespace lockstep::comm::shm
