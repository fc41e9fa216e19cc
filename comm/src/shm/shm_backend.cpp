// SPDX-License-Identifier: Apache-2.0
#include "shm_backend.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "lockstep/base/error.hpp"
#include "shm_message.hpp"
#include "shm_move.hpp"
#include "shm_reduction.hpp"

namespace lockstep::comm::shm {

ShmBackend::ShmBackend(std::shared_ptr<HostGroup> group, const std::vector<std::uint64_t>& channel_offsets,
                       std::shared_ptr<std::atomic<std::uint32_t>> claims)
    : group_(std::move(group)),
      claims_(std::move(claims)),
      peer_finished_(channel_offsets.size(), 0),
      correspondence_(channel_offsets.size()),
      planner_(group_->world_size()) {
  for (std::size_t peer = 0; peer < channel_offsets.size(); ++peer) {
    channels_.push_back(object_at<Channel>(group_->memory_of(static_cast<int>(peer), channel_offsets[peer])));
  }
  if (!claims_) claims_ = {group_->mapping_of(0), &of(0).claims};
}

ShmBackend::~ShmBackend() = default;

std::uint64_t ShmBackend::make_channel(Arena& arena, int world_size) {
  const auto ranks = static_cast<std::size_t>(world_size);
  const std::uint64_t offset = arena.allocate(sizeof(Channel) + ranks * sizeof(Mailbox));
  new (arena.mapping().at(offset)) Channel;
  for (std::size_t peer = 0; peer < ranks; ++peer)
    new (arena.mapping().at(offset + sizeof(Channel) + peer * sizeof(Mailbox))) Mailbox;
  return offset;
}

Mailbox& ShmBackend::mailbox(int owner, int peer) const noexcept {
  return object_at<Mailbox>(reinterpret_cast<std::byte*>(&of(owner)) + sizeof(Channel))[peer];
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
  if (request.call.kind == Kind::send) return OperationPtr(new ShmSend(*this, request));
  if (request.call.kind == Kind::receive) return OperationPtr(new ShmReceive(*this, request));
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

namespace {

// Everybody's `own`, by rank.
template <class T>
std::vector<T> gathered(ShmBackend& backend, const T& own) {
  std::vector<T> all(static_cast<std::size_t>(backend.world_size()));
  const OperationPtr gather = backend.start({.call = {.kind = Kind::all_gather, .elements = sizeof(T)},
                                             .input = reinterpret_cast<const std::byte*>(&own),
                                             .output = reinterpret_cast<std::byte*>(all.data())});
  const auto began = std::chrono::steady_clock::now();
  while (gather->advance(std::chrono::steady_clock::time_point::max()) != Advanced::fully)
    backend.idle(std::chrono::steady_clock::now() - began);
  return all;
}

// In the midst of a call a shortage of memory is a failure of this rank, which its peers must hear of.
template <class Allocate>
std::uint64_t or_give_up(Allocate allocate) {
  try {
    return allocate();
  } catch (const IoError& error) {
    const ErrorText& text = error.text();
    throw BackendFailure{
        {.kind = FailureKind::native, .why = fmt::format("{}: {}", text.what, text.why), .fix = text.fix}};
  }
}

struct Wish {
  std::int32_t color;
  std::int32_t key;
};

// The ranks that wish for `color`, by (key, rank).
std::vector<int> members_of(int color, const std::vector<Wish>& wishes) {
  std::vector<int> members;
  for (std::size_t rank = 0; rank < wishes.size(); ++rank) {
    if (wishes[rank].color == color) members.push_back(static_cast<int>(rank));
  }
  const auto key_of = [&](int rank) { return wishes[static_cast<std::size_t>(rank)].key; };
  std::stable_sort(members.begin(), members.end(), [&](int a, int b) { return key_of(a) < key_of(b); });
  return members;
}

}  // namespace

std::uint64_t ShmBackend::reserve(std::size_t bytes) {
  return or_give_up([&] { return group_->arena().allocate(bytes); });
}

std::unique_ptr<Backend> ShmBackend::split(int color, int key) {
  const std::vector<Wish> wishes = gathered(*this, Wish{color, key});
  std::vector<int> members;
  if (color >= 0) members = members_of(color, wishes);
  std::uint64_t own_offset = 0;
  if (!members.empty()) {
    own_offset = or_give_up([&] { return make_channel(group_->arena(), static_cast<int>(members.size())); });
  }
  const std::vector<std::uint64_t> all_offsets = gathered(*this, own_offset);
  if (members.empty()) return nullptr;
  std::vector<std::uint64_t> offsets;
  for (const int member : members) offsets.push_back(all_offsets[static_cast<std::size_t>(member)]);
  return std::make_unique<ShmBackend>(group_->part(members), offsets, claims_);
}

}  // namespace lockstep::comm::shm
