// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "../kernels.hpp"
#include "local_group.hpp"
#include "lockstep/base/host.hpp"

namespace lockstep::comm {
namespace {

// The share of rank `rank` in a collective in which all have arrived. It reads slice `rank` of everybody's memory and
// writes the same slice of everybody's: no two ranks touch the same bytes, also in place.
void do_share(const LocalExchange& exchange, int rank) {
  const Request& own = *exchange.requests[static_cast<std::size_t>(rank)];
  const Call& call = own.call;
  const std::size_t element_bytes = size_of(call.dtype);
  const std::size_t bytes = static_cast<std::size_t>(call.elements) * element_bytes;
  const auto world_size = static_cast<std::int64_t>(exchange.requests.size());
  switch (call.kind) {
    case Kind::barrier:
      return;
    case Kind::broadcast:
      if (rank != call.root && bytes > 0) std::memcpy(own.output, exchange.requests[call.root]->input, bytes);
      return;
    case Kind::all_gather:
      for (const Request* peer : exchange.requests) {
        if (bytes > 0) std::memcpy(peer->output + static_cast<std::size_t>(rank) * bytes, own.input, bytes);
      }
      return;
    default:
      break;
  }
  const bool scatter = call.kind == Kind::reduce_scatter;
  const Range slice =
      scatter ? Range{rank * call.elements, (rank + 1) * call.elements} : even_split(call.elements, world_size, rank);
  const std::size_t offset = static_cast<std::size_t>(slice.first) * element_bytes;
  std::vector<Partial> partials;
  std::vector<const std::byte*> inputs;
  for (const Request* peer : exchange.requests) {
    for (const Partial& partial : peer->partials) {
      partials.push_back(partial);
      inputs.push_back(partial.data + offset);
    }
  }
  std::byte* const result = own.output + (scatter ? 0 : offset);
  reduce_slice(inputs, combines_after(partials, call.leaves), slice.size(), call.dtype, call.op, call.scale, result);
  if (scatter || slice.empty()) return;
  for (const Request* peer : exchange.requests) {
    if (peer != &own)
      std::memcpy(peer->output + offset, result, static_cast<std::size_t>(slice.size()) * element_bytes);
  }
}

class LocalOperation final : public Operation {
 public:
  LocalOperation(std::shared_ptr<LocalGroup> group, int rank, const Request& request)
      : group_(std::move(group)),
        rank_(rank),
        partials_(request.partials.begin(), request.partials.end()),
        request_(request) {
    request_.partials = partials_;
    const std::lock_guard lock(group_->domain->mutex);
    throw_if_failed();
    auto& exchange = group_->exchanges[request_.call.sequence];
    if (!exchange) {
      exchange = std::make_shared<LocalExchange>();
      exchange->requests.resize(static_cast<std::size_t>(group_->world_size));
      exchange->shared.resize(static_cast<std::size_t>(group_->world_size));
    }
    exchange_ = exchange;
    compare_with_peers();
    exchange_->requests[static_cast<std::size_t>(rank_)] = &request_;
    if (++exchange_->arrived == group_->world_size) group_->exchanges.erase(request_.call.sequence);
    group_->domain->notify_locked();
  }

  Advanced advance(std::chrono::steady_clock::time_point) override {
    std::unique_lock lock(group_->domain->mutex);
    if (exchange_->finished == group_->world_size) return Advanced::fully;
    LocalDomain& domain = *group_->domain;
    if (domain.failure) {
      // A peer may still be writing to our memory, which the caller frees next; after a failure nobody starts again.
      domain.changed.wait(lock, [&] { return domain.working == 0; });
      throw_if_failed();
    }
    if (exchange_->arrived < group_->world_size) return Advanced::not_yet;
    bool moved = false;
    if (char& shared = exchange_->shared[static_cast<std::size_t>(rank_)]; !shared) {
      ++domain.working;
      lock.unlock();
      do_share(*exchange_, rank_);
      lock.lock();
      --domain.working;
      shared = 1;
      moved = true;
      ++exchange_->finished;
      domain.notify_locked();
    }
    if (exchange_->finished == group_->world_size) return Advanced::fully;
    return moved ? Advanced::partly : Advanced::not_yet;
  }

  [[nodiscard]] std::vector<int> missing() const override {
    const std::lock_guard lock(group_->domain->mutex);
    const bool all_arrived = exchange_->arrived == group_->world_size;
    std::vector<int> ranks;
    for (int rank = 0; rank < group_->world_size; ++rank) {
      const auto index = static_cast<std::size_t>(rank);
      if (all_arrived ? !exchange_->shared[index] : exchange_->requests[index] == nullptr) ranks.push_back(rank);
    }
    return ranks;
  }

 private:
  void throw_if_failed() const {
    if (group_->domain->failure) throw BackendFailure{*group_->domain->failure};
  }

  void compare_with_peers() {
    for (int peer = 0; peer < group_->world_size; ++peer) {
      const Request* const other = exchange_->requests[static_cast<std::size_t>(peer)];
      if (other == nullptr || other->call == request_.call) continue;
      const int low = std::min(rank_, peer);
      const int high = std::max(rank_, peer);
      const Call& low_call = rank_ == low ? request_.call : other->call;
      const Call& high_call = rank_ == low ? other->call : request_.call;
      group_->domain->failure = mismatch(low, low_call, high, high_call);
      group_->domain->notify_locked();
      throw_if_failed();
    }
  }

  std::shared_ptr<LocalGroup> group_;
  int rank_;
  std::vector<Partial> partials_;
  Request request_;
  std::shared_ptr<LocalExchange> exchange_;
};

class LocalBackend final : public Backend {
 public:
  LocalBackend(std::shared_ptr<LocalGroup> group, int rank) : group_(std::move(group)), rank_(rank) {
    const std::string host = host_name();
    for (int peer = 0; peer < group_->world_size; ++peer) {
      peers_.push_back({.host = host, .pid = getpid(), .node = 0, .local_rank = peer});
    }
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "local"; }
  [[nodiscard]] int rank() const noexcept override { return rank_; }
  [[nodiscard]] int world_size() const noexcept override { return group_->world_size; }
  [[nodiscard]] const std::vector<Peer>& peers() const noexcept override { return peers_; }

  [[nodiscard]] OperationPtr start(const Request& request) override {
    return OperationPtr(new LocalOperation(group_, rank_, request));
  }

  void idle(std::chrono::nanoseconds) override {
    LocalDomain& domain = *group_->domain;
    std::unique_lock lock(domain.mutex);
    if (domain.changes == seen_changes_) domain.changed.wait_for(lock, std::chrono::milliseconds(1));
    seen_changes_ = domain.changes;
  }

  [[nodiscard]] std::unique_ptr<Backend> split(int, int) override {
    std::shared_ptr<LocalGroup> copy;
    {
      const std::lock_guard lock(group_->domain->mutex);
      if (group_->duplicates.size() == duplicated_) {  // the first rank here makes it; the order of calls is the same
        group_->duplicates.push_back(std::make_shared<LocalGroup>(group_->domain, group_->world_size));
      }
      copy = group_->duplicates[duplicated_++];
    }
    return make_local_backend(std::move(copy), rank_);
  }

  void fail(const Failure& failure) noexcept override {
    LocalDomain& domain = *group_->domain;
    std::unique_lock lock(domain.mutex);
    domain.changed.wait(lock, [&] { return domain.working == 0; });  // nobody writes to our memory any more
    if (domain.failure) return;
    domain.failure = seen_from_afar(failure, rank_);
    domain.notify_locked();
  }

  [[nodiscard]] bool claim_first_failure() noexcept override { return !group_->domain->failure_claimed.exchange(true); }
  void close() override {}

 private:
  std::shared_ptr<LocalGroup> group_;
  int rank_;
  std::vector<Peer> peers_;
  std::size_t duplicated_ = 0;
  std::uint64_t seen_changes_ = 0;
};

}  // namespace

std::unique_ptr<Backend> make_local_backend(std::shared_ptr<LocalGroup> group, int rank) {
  return std::make_unique<LocalBackend>(std::move(group), rank);
}

}  // namespace lockstep::comm
