// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm {

// How the partial sums of all ranks are added up, in the order of T(leaves).
struct TreePlan {
  std::int64_t leaves = -1;
  std::vector<std::int64_t> bounds;  // as Request::leaf_bounds
  std::vector<int> partials_of;      // by rank: how many it contributes
  int most_partials = 1;
  std::vector<int> combines;  // as reduce_slice() takes them, over the partial sums of rank 0, 1, …
};

// Makes plans and keeps them, because the calls of one communicator are of very few sorts, which may be in flight
// together.
class TreePlanner {
 public:
  explicit TreePlanner(int world_size) : world_size_(world_size) {}
  // Valid as long as the planner.
  [[nodiscard]] const TreePlan& plan_for(const Request& reduction);

 private:
  int world_size_;
  std::list<TreePlan> plans_;  // that used last first
};

}  // namespace lockstep::comm
