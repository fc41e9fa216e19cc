// SPDX-License-Identifier: Apache-2.0
#include "tree_plan.hpp"

#include <algorithm>

#include "kernels.hpp"

namespace lockstep::comm {

const TreePlan& TreePlanner::plan_for(const Request& reduction) {
  const std::int64_t leaves = reduction.call.leaves;
  const std::span<const std::int64_t> bounds = reduction.leaf_bounds;
  const auto known = std::find_if(plans_.begin(), plans_.end(), [&](const TreePlan& plan) {
    return plan.leaves == leaves && std::equal(bounds.begin(), bounds.end(), plan.bounds.begin(), plan.bounds.end());
  });
  if (known != plans_.end()) {
    plans_.splice(plans_.begin(), plans_, known);
    return plans_.front();
  }
  TreePlan plan{.leaves = leaves, .bounds = {bounds.begin(), bounds.end()}, .partials_of = {}, .combines = {}};
  std::vector<Partial> all;
  for (int rank = 0; rank < world_size_; ++rank) {
    const auto r = static_cast<std::size_t>(rank);
    const Range owned = bounds.empty() ? even_split(leaves, world_size_, rank) : Range{bounds[r], bounds[r + 1]};
    const std::vector<Range> nodes = subtrees_in(owned, leaves);
    for (const Range& node : nodes) all.push_back({.first_leaf = node.first, .leaves = node.size()});
    plan.partials_of.push_back(static_cast<int>(nodes.size()));
    plan.most_partials = std::max(plan.most_partials, static_cast<int>(nodes.size()));
  }
  plan.combines = combines_after(all, leaves);
  return plans_.emplace_front(std::move(plan));
}

}  // namespace lockstep::comm
