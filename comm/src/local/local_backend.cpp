// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <compare>

#include "local_collective.hpp"
#include "local_message.hpp"
#include "lockstep/base/host.hpp"

namespace lockstep::comm {

// One call of split: what each rank gave, and the groups that came of it.
struct LocalSplit {
  struct Member {
    int color = -1;
    int key = 0;
    int rank = 0;
    auto operator<=>(const Member&) const = default;
  };
  std::vector<Member> members;                        // once all have come: by (color, key, rank)
  std::map<int, std::shared_ptr<LocalGroup>> groups;  // by color
};

namespace {

class LocalBackend final : public Backend {
 public:
  LocalBackend(std::shared_ptr<LocalGroup> group, int rank)
      : group_(std::move(group)), rank_(rank), planner_(group_->world_size) {
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
    if (is_between_two(request.call.kind)) return OperationPtr(new LocalTransfer(group_, rank_, request));
    return OperationPtr(new LocalCollective(group_, rank_, planner_, request));
  }

  void idle(std::chrono::nanoseconds) override {
    LocalDomain& domain = *group_->domain;
    std::unique_lock lock(domain.mutex);
    if (domain.changes == seen_changes_) domain.changed.wait_for(lock, std::chrono::milliseconds(1));
    seen_changes_ = domain.changes;
  }

  [[nodiscard]] std::unique_ptr<Backend> split(int color, int key) override {
    const std::shared_ptr<LocalSplit> split = gather_members(color, key);
    if (color < 0) return nullptr;
    int rank = 0;
    for (const LocalSplit::Member& member : split->members) {
      if (member.color != color) continue;
      if (member.rank == rank_) break;
      ++rank;
    }
    return make_local_backend(split->groups.at(color), rank);
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
  // What all ranks gave to this call of split; the last to come makes the groups.
  [[nodiscard]] std::shared_ptr<LocalSplit> gather_members(int color, int key) {
    LocalDomain& domain = *group_->domain;
    const auto ranks = static_cast<std::size_t>(group_->world_size);
    std::unique_lock lock(domain.mutex);
    auto& place = group_->splits[splits_];
    if (!place) place = std::make_shared<LocalSplit>();
    const std::shared_ptr<LocalSplit> split = place;
    split->members.push_back({color, key, rank_});
    if (split->members.size() == ranks) {
      std::sort(split->members.begin(), split->members.end());
      std::map<int, int> sizes;
      for (const LocalSplit::Member& member : split->members) ++sizes[member.color];
      for (const auto& [of_color, size] : sizes)
        split->groups[of_color] = std::make_shared<LocalGroup>(group_->domain, size);
      group_->splits.erase(splits_);
      domain.notify_locked();
    }
    ++splits_;
    domain.changed.wait(lock, [&] { return !split->groups.empty() || domain.failure; });
    if (split->groups.empty()) domain.throw_if_failed(lock);
    return split;
  }

  std::shared_ptr<LocalGroup> group_;
  int rank_;
  std::vector<Peer> peers_;
  TreePlanner planner_;
  std::uint64_t splits_ = 0;  // that this rank has called
  std::uint64_t seen_changes_ = 0;
};

}  // namespace

std::unique_ptr<Backend> make_local_backend(std::shared_ptr<LocalGroup> group, int rank) {
  return std::make_unique<LocalBackend>(std::move(group), rank);
}

}  // namespace lockstep::comm
