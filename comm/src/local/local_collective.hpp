// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "../moves.hpp"
#include "../tree_plan.hpp"
#include "local_group.hpp"

namespace lockstep::comm {

// A call of all ranks. When all have arrived, each rank does a share of the work on everybody's memory; nobody is done
// before all are.
class LocalCollective final : public Operation {
 public:
  LocalCollective(std::shared_ptr<LocalGroup> group, int rank, TreePlanner& planner, const Request& request);
  Advanced advance(std::chrono::steady_clock::time_point slice_end) override;
  [[nodiscard]] std::vector<int> missing() const override;

 private:
  void compare_with(int peer, const LocalCollective& other) const;
  void do_share() const;
  void pull() const;
  void reduce() const;
  [[nodiscard]] std::size_t bytes_of(std::int64_t elements) const noexcept {
    return static_cast<std::size_t>(elements) * element_bytes_;
  }

  std::shared_ptr<LocalGroup> group_;
  int rank_;
  Request request_;
  std::size_t element_bytes_;
  std::vector<Partial> partials_;
  const TreePlan* plan_ = nullptr;  // of a reduction
  Range slice_{};                   // of a reduction: the elements that this rank adds up
  Moves moves_;
  std::shared_ptr<LocalExchange> exchange_;
};

// One collective of one group: who has come.
struct LocalExchange {
  std::vector<const LocalCollective*> calls;  // by rank; null: not arrived. Guarded by the lock until all have
  std::vector<char> shared;                   // by rank: its share is done
  int arrived = 0;
  int finished = 0;
};

}  // namespace lockstep::comm
