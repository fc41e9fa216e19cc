// SPDX-License-Identifier: Apache-2.0
#include "local_collective.hpp"

#include <cstring>

#include "../kernels.hpp"

namespace lockstep::comm {

LocalCollective::LocalCollective(std::shared_ptr<LocalGroup> group, int rank, TreePlanner& planner,
                                 const Request& request)
    : group_(std::move(group)),
      rank_(rank),
      request_(request),
      element_bytes_(size_of(request.call.dtype)),
      partials_(request.partials.begin(), request.partials.end()) {
  const int world_size = group_->world_size;
  const Call& call = request_.call;
  const auto self = static_cast<std::size_t>(rank_);
  if (is_reduction(call.kind)) {
    plan_ = &planner.plan_for(request_);
    slice_ = call.kind == Kind::reduce_scatter ? rows_of(request_, world_size)[self]
                                               : even_split(call.elements, world_size, rank_);
  } else {
    moves_ = moves_of(request_, rank_, world_size);
  }
  std::unique_lock lock(group_->domain->mutex);
  group_->domain->throw_if_failed(lock);
  auto& exchange = group_->exchanges[call.sequence];
  if (!exchange) {
    exchange = std::make_shared<LocalExchange>();
    exchange->calls.resize(static_cast<std::size_t>(world_size));
    exchange->shared.resize(static_cast<std::size_t>(world_size));
  }
  exchange_ = exchange;
  compare_with(rank_, *this);
  for (int peer = 0; peer < world_size; ++peer) {
    if (const LocalCollective* const other = exchange_->calls[static_cast<std::size_t>(peer)])
      compare_with(peer, *other);
  }
  exchange_->calls[self] = this;
  if (++exchange_->arrived == world_size) group_->exchanges.erase(call.sequence);
  group_->domain->notify_locked();
}

void LocalCollective::compare_with(int peer, const LocalCollective& other) const {
  const bool lower = rank_ < peer;
  if (!(other.request_.call == request_.call)) {
    group_->domain->fail(lower ? mismatch(rank_, request_.call, peer, other.request_.call)
                               : mismatch(peer, other.request_.call, rank_, request_.call));
  }
  if (request_.call.kind != Kind::all_to_all) return;
  const auto check = [&](int from, const LocalCollective& sender, int to, const LocalCollective& receiver) {
    const std::int64_t sent = sender.moves_.outgoing[static_cast<std::size_t>(to)].size();
    const std::int64_t expected = receiver.moves_.incoming[static_cast<std::size_t>(from)].size();
    if (sent != expected) group_->domain->fail(unequal_parts(from, sent, to, expected, request_.call));
  };
  check(rank_, *this, peer, other);
  check(peer, other, rank_, *this);
}

Advanced LocalCollective::advance(std::chrono::steady_clock::time_point) {
  LocalDomain& domain = *group_->domain;
  std::unique_lock lock(domain.mutex);
  if (exchange_->finished == group_->world_size) return Advanced::fully;
  domain.throw_if_failed(lock);
  if (exchange_->arrived < group_->world_size) return Advanced::not_yet;
  char& shared = exchange_->shared[static_cast<std::size_t>(rank_)];
  if (shared) return Advanced::not_yet;
  domain.work(lock, [&] { do_share(); });
  shared = 1;
  return ++exchange_->finished == group_->world_size ? Advanced::fully : Advanced::partly;
}

void LocalCollective::do_share() const {
  if (!request_.agree_only) is_reduction(request_.call.kind) ? reduce() : pull();
}

// Takes what all others have for this rank.
void LocalCollective::pull() const {
  for (std::size_t peer = 0; peer < exchange_->calls.size(); ++peer) {
    const Range block = moves_.incoming[peer];
    if (block.empty()) continue;
    const LocalCollective& other = *exchange_->calls[peer];
    const Range theirs = other.moves_.outgoing[static_cast<std::size_t>(rank_)];
    std::byte* const to = request_.output + bytes_of(block.first);
    const std::byte* const from = other.request_.input + bytes_of(theirs.first);
    if (to != from) std::memcpy(to, from, bytes_of(block.size()));
  }
}

// Reads slice r of everybody's memory and writes the same slice of everybody's: no two ranks touch the same bytes, also
// in place.
void LocalCollective::reduce() const {
  if (slice_.empty()) return;
  const Call& call = request_.call;
  const std::size_t offset = bytes_of(slice_.first);
  std::vector<const std::byte*> inputs;
  for (const LocalCollective* const peer : exchange_->calls) {
    for (const Partial& partial : peer->partials_) inputs.push_back(partial.data + offset);
  }
  const LocalCollective& owner =
      call.kind == Kind::reduce ? *exchange_->calls[static_cast<std::size_t>(call.root)] : *this;
  std::byte* const result = owner.request_.output + (call.kind == Kind::reduce_scatter ? 0 : offset);
  reduce_slice(inputs, plan_->combines, slice_.size(), call.dtype, call.op, call.scale, result);
  if (call.kind != Kind::all_reduce) return;
  for (const LocalCollective* const peer : exchange_->calls) {
    if (peer != this) std::memcpy(peer->request_.output + offset, result, bytes_of(slice_.size()));
  }
}

std::vector<int> LocalCollective::missing() const {
  const std::lock_guard lock(group_->domain->mutex);
  const bool all_arrived = exchange_->arrived == group_->world_size;
  std::vector<int> ranks;
  for (int rank = 0; rank < group_->world_size; ++rank) {
    const auto index = static_cast<std::size_t>(rank);
    if (all_arrived ? !exchange_->shared[index] : exchange_->calls[index] == nullptr) ranks.push_back(rank);
  }
  return ranks;
}

}  // namespace lockstep::comm
