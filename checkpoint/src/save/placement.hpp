// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "lockstep/comm/communicator.hpp"

namespace lockstep {

// Which ranks are on which node. Nodes are counted from 0 in the order of their numbers, which may have gaps.
class Placement {
 public:
  // `numbers`: the node of each rank; empty: as `world` knows them. Throws UsageError.
  Placement(const Communicator& world, std::vector<int> numbers);

  [[nodiscard]] int nodes() const noexcept { return static_cast<int>(ranks_.size()); }
  [[nodiscard]] int node_of(int rank) const { return node_of_.at(static_cast<std::size_t>(rank)); }
  [[nodiscard]] int number_of(int node) const { return numbers_.at(static_cast<std::size_t>(node)); }
  [[nodiscard]] int first_rank_of(int node) const { return ranks_of(node).front(); }
  // Who looks after file `index` of a checkpoint on `node`: work is spread over the node's ranks.
  [[nodiscard]] int keeper(int node, std::size_t index) const { return ranks_of(node)[index % ranks_of(node).size()]; }
  // Who holds the copy of what `rank` writes: a rank of the next node, the last of which has the first as its next.
  [[nodiscard]] int partner_of(int rank) const;
  // Whose copies `rank` holds, ascending.
  [[nodiscard]] std::vector<int> origins_of(int rank) const;

 private:
  [[nodiscard]] const std::vector<int>& ranks_of(int node) const { return ranks_.at(static_cast<std::size_t>(node)); }
  std::vector<int> numbers_;             // by node
  std::vector<int> node_of_;             // by rank
  std::vector<std::vector<int>> ranks_;  // by node, ascending
};

}  // namespace lockstep
