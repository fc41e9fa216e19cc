// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "../tree_plan.hpp"
#include "host_group.hpp"
#include "lockstep/comm/backend.hpp"
#include "mailbox.hpp"

namespace lockstep::comm::shm {

class ShmMove;
class ShmReduction;

// Collectives among ranks of one host through memory that all of them map. Calls of one communicator complete in their
// order; every rank first publishes a line for a call, and all compare all lines before data is touched. Messages
// between two ranks go through mailboxes of their own.
class ShmBackend final : public Backend {
 public:
  // Collective over `group`. `channel_offsets`: where each rank's Channel lies in its arena, ours made by
  // make_channel(). `claims`: those of the communicator that this one is a part of; null: its own.
  ShmBackend(std::shared_ptr<HostGroup> group, const std::vector<std::uint64_t>& channel_offsets,
             std::shared_ptr<std::atomic<std::uint32_t>> claims = nullptr);
  ~ShmBackend() override;

  // Local. A fresh channel in `arena`, with mailboxes for at most `world_size` ranks.
  [[nodiscard]] static std::uint64_t make_channel(Arena& arena, int world_size);

  [[nodiscard]] std::string_view name() const noexcept override { return "shm"; }
  [[nodiscard]] int rank() const noexcept override { return group_->rank(); }
  [[nodiscard]] int world_size() const noexcept override { return group_->world_size(); }
  [[nodiscard]] const std::vector<Peer>& peers() const noexcept override { return group_->peers(); }
  [[nodiscard]] OperationPtr start(const Request& request) override;
  void idle(std::chrono::nanoseconds waited) override;
  [[nodiscard]] std::shared_ptr<std::byte> allocate(std::size_t bytes) override;
  [[nodiscard]] std::unique_ptr<Backend> split(int color, int key) override;
  [[nodiscard]] std::unique_ptr<Backend> shrink(std::chrono::milliseconds timeout) override;
  void fail(const Failure& failure) noexcept override;
  [[nodiscard]] bool claim_first_failure() noexcept override { return claims_->fetch_add(1) == 0; }
  void close() override {}

 private:
  friend class ShmCall;
  friend class ShmMessage;
  friend class ShmMove;
  friend class ShmReduction;
  friend class ShmSend;
  friend class ShmReceive;

  void recycle(ShmMove* call);
  void recycle(ShmReduction* call);
  [[nodiscard]] Channel& own() const noexcept { return *channels_[static_cast<std::size_t>(rank())]; }
  [[nodiscard]] Channel& of(int peer) const noexcept { return *channels_[static_cast<std::size_t>(peer)]; }
  [[nodiscard]] Correspondence& correspondence(int peer) noexcept {
    return correspondence_[static_cast<std::size_t>(peer)];
  }
  // In our arena, in the midst of a call: a shortage is a failure of this rank that ends its peers' waits.
  [[nodiscard]] std::uint64_t reserve(std::size_t bytes);
  // What `owner` writes for `peer`.
  [[nodiscard]] Mailbox& mailbox(int owner, int peer) const noexcept;
  [[nodiscard]] std::size_t eager_bytes() const noexcept {  // the same on every rank
    return group_->oversubscribed() ? kSlotBytes : kEagerBytes;
  }
  // Where a small contribution to call `index` lies.
  [[nodiscard]] std::byte* slot(int rank, std::uint64_t index) const noexcept {
    return of(rank).slots[index % kLines].data();
  }
  void throw_if_a_peer_gave_up() const;
  [[nodiscard]] bool all_announced_or_dead() const;
  void propose_survivors();
  [[nodiscard]] std::span<std::uint64_t> proposal_of(int peer) const noexcept;

  std::shared_ptr<HostGroup> group_;
  std::shared_ptr<std::atomic<std::uint32_t>> claims_;
  std::vector<Channel*> channels_;              // by rank
  std::vector<std::uint64_t> peer_finished_;    // calls that each peer had completed when last looked
  std::uint64_t started_ = 0;                   // calls so far: the index of the next one
  std::uint64_t finished_ = 0;                  // calls that are complete here: the index of the oldest that is not
  std::uint64_t chunks_ = 0;                    // staged chunks of all calls so far, the same on every rank
  std::vector<Correspondence> correspondence_;  // by peer
  TreePlanner planner_;
  std::vector<std::unique_ptr<ShmReduction>> idle_reductions_;  // kept for the next calls
  std::vector<std::unique_ptr<ShmMove>> idle_moves_;
};

}  // namespace lockstep::comm::shm
