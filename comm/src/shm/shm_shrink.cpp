// SPDX-License-Identifier: Apache-2.0
// The part of ShmBackend that goes on with the survivors of a failure. No collective can decide who they are, because
// any rank may die in its midst. Memory stays mapped when its owner dies, so the decision is one compare-and-swap: the
// first proposal that is named in rank 0's memory holds, and everybody follows it, or finds itself left out.
#include <fmt/format.h>

#include <algorithm>

#include "lockstep/base/error.hpp"
#include "shm_backend.hpp"

namespace lockstep::comm::shm {

using Clock = std::chrono::steady_clock;

std::unique_ptr<Backend> ShmBackend::shrink(std::chrono::milliseconds timeout) {
  const std::string who =
      fmt::format("rank {}/{} {}", rank(), world_size(), peers()[static_cast<std::size_t>(rank())].host);
  Census& census = own().census;
  if (census.announced.load(std::memory_order_relaxed) != 0) {
    throw UsageError({.who = who,
                      .what = "shrink",
                      .why = "this communicator has been shrunk before",
                      .fix = "use the smaller one: shrink that if it has failed too, else duplicate it"});
  }
  const auto deadline = Clock::now() + timeout;
  const std::uint64_t channel = make_channel(group_->arena(), world_size());
  census.proposal = group_->arena().allocate(static_cast<std::size_t>(world_size()) * sizeof(std::uint64_t));
  census.announced.store(channel, std::memory_order_release);
  group_->wake_peers();
  const std::atomic<std::uint32_t>& decided = of(0).census.decided;
  while (decided.load(std::memory_order_acquire) == 0 && !all_announced_or_dead() && Clock::now() < deadline)
    group_->doze();
  propose_survivors();
  const int proposer = static_cast<int>(decided.load(std::memory_order_acquire)) - 1;
  const std::span<const std::uint64_t> channels = proposal_of(proposer);
  std::vector<int> members;
  std::vector<std::uint64_t> offsets;
  for (int peer = 0; peer < world_size(); ++peer) {
    if (channels[static_cast<std::size_t>(peer)] == 0) continue;
    members.push_back(peer);
    offsets.push_back(channels[static_cast<std::size_t>(peer)]);
  }
  if (channels[static_cast<std::size_t>(rank())] == 0) {
    throw CommError({.who = who,
                     .what = "shrink",
                     .why = fmt::format("this rank came too late: the other survivors, {} of {} ranks, have gone on "
                                        "without it",
                                        members.size(), world_size()),
                     .fix = "end this process; raise comm.timeout_seconds if ranks are that far apart"});
  }
  group_->forget_blame();
  return std::make_unique<ShmBackend>(group_->part(members), offsets);
}

bool ShmBackend::all_announced_or_dead() const {
  const std::vector<int> dead = group_->dead_ranks();
  for (int peer = 0; peer < world_size(); ++peer) {
    const bool announced = of(peer).census.announced.load(std::memory_order_acquire) != 0;
    if (!announced && !std::binary_search(dead.begin(), dead.end(), peer)) return false;
  }
  return true;
}

// Those that have come and live, unless somebody was faster.
void ShmBackend::propose_survivors() {
  const std::vector<int> dead = group_->dead_ranks();
  const std::span<std::uint64_t> proposal = proposal_of(rank());
  for (int peer = 0; peer < world_size(); ++peer) {
    const std::uint64_t channel = of(peer).census.announced.load(std::memory_order_acquire);
    proposal[static_cast<std::size_t>(peer)] = std::binary_search(dead.begin(), dead.end(), peer) ? 0 : channel;
  }
  std::uint32_t undecided = 0;
  of(0).census.decided.compare_exchange_strong(undecided, static_cast<std::uint32_t>(rank()) + 1,
                                               std::memory_order_acq_rel);
  group_->wake_peers();
}

std::span<std::uint64_t> ShmBackend::proposal_of(int peer) const noexcept {
  return {object_at<std::uint64_t>(group_->memory_of(peer, of(peer).census.proposal)),
          static_cast<std::size_t>(world_size())};
}

}  // namespace lockstep::comm::shm
