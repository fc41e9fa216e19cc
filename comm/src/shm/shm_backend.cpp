// SPDX-License-Identifier: Apache-2.0
#include "shm_backend.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "shm_move.hpp"
#include "shm_reduction.hpp"

namespace lockstep::comm::shm {

ShmBackend::ShmBackend(std::shared_ptr<HostGroup> group, const std::vector<std::uint64_t>& channel_offsets)
    : group_(std::move(group)), peer_finished_(channel_offsets.size(), 0), planner_(group_->world_size()) {
  for (std::size_t peer = 0; peer < channel_offsets.size(); ++peer) {
    std::byte* const at = group_->memory_of(static_cast<int>(peer), channel_offsets[peer]);
    channels_.push_back(std::launder(reinterpret_cast<Channel*>(at)));
  }
}

ShmBackend::~ShmBackend() = default;

std::uint64_t ShmBackend::make_channel(Arena& arena) {
  const std::uint64_t offset = arena.allocate(sizeof(Channel));
  new (arena.mapping().at(offset)) Channel;
  return offset;
}

namespace {

// One of those that are idle, or a new one.
template <class Call>
Call* take(std::vector<std::unique_ptr<Call>>& idle, ShmBackend& backend) {
  if (idle.empty()) return new Call(backend);
  Call* const call = idle.back().release();
  idle.pop_back();
  return call;
}

}  // namespace

OperationPtr ShmBackend::start(const Request& request) {
  ShmCall* const call =
      is_reduction(request.call.kind) ? static_cast<ShmCall*>(take(idle_reductions_, *this)) : take(idle_moves_, *this);
  OperationPtr operation(call);
  call->begin(request, started_++);
  return operation;
}

void ShmBackend::recycle(ShmReduction* call) { idle_reductions_.emplace_back(call); }
void ShmBackend::recycle(ShmMove* call) { idle_moves_.emplace_back(call); }

void ShmBackend::idle(std::chrono::nanoseconds waited) {
  try {
    group_->idle(waited);
  } catch (const BackendFailure&) {  // a peer has ended: perhaps it said before why
    throw_if_a_peer_gave_up();
    throw;
  }
  if (waited > std::chrono::microseconds(100)) throw_if_a_peer_gave_up();
}

void ShmBackend::throw_if_a_peer_gave_up() const {
  for (int peer = 0; peer < world_size(); ++peer) {
    const Notice& notice = of(peer).notice;
    if (peer == rank() || notice.given.load(std::memory_order_acquire) == 0) continue;
    throw BackendFailure{seen_from_afar(
        {.kind = notice.kind, .why = notice.why.data(), .fix = notice.fix.data(), .culprit = notice.culprit}, peer)};
  }
}

void ShmBackend::fail(const Failure& failure) noexcept {
  Notice& notice = own().notice;
  if (notice.given.load(std::memory_order_relaxed) != 0) return;
  notice.kind = failure.kind;
  notice.culprit = failure.culprit;
  group_->blame(failure.culprit);
  std::strncpy(notice.why.data(), failure.why.c_str(), notice.why.size() - 1);
  std::strncpy(notice.fix.data(), failure.fix.c_str(), notice.fix.size() - 1);
  notice.given.store(1, std::memory_order_release);
  group_->wake_peers();
}

std::shared_ptr<std::byte> ShmBackend::allocate(std::size_t bytes) {
  Arena& arena = group_->arena();
  return {arena.shared_mapping(), arena.mapping().at(arena.allocate(bytes))};  // keeps the mapping, not the backend
}

std::unique_ptr<Backend> ShmBackend::split(int color, int key) {
  (void)color, (void)key;
  std::uint64_t own_offset = make_channel(group_->arena());
  std::vector<std::uint64_t> offsets(static_cast<std::size_t>(world_size()));
  const OperationPtr gather = start({.call = {.kind = Kind::all_gather, .dtype = DType::int64, .elements = 1},
                                     .input = reinterpret_cast<const std::byte*>(&own_offset),
                                     .output = reinterpret_cast<std::byte*>(offsets.data())});
  const auto began = std::chrono::steady_clock::now();
  while (gather->advance(std::chrono::steady_clock::time_point::max()) != Advanced::fully)
    idle(std::chrono::steady_clock::now() - began);
  return std::make_unique<ShmBackend>(group_, offsets);
}

}  // namespace lockstep::comm::shm
