// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm {

// How ranks lie on nodes: the ranks of a node are neighbours, so that the leaves which they own are too.
struct NodeLayout {
  std::vector<int> first_ranks;  // of every node, then the number of ranks

  [[nodiscard]] int nodes() const noexcept { return static_cast<int>(first_ranks.size()) - 1; }
  [[nodiscard]] int first_rank(int node) const { return first_ranks[static_cast<std::size_t>(node)]; }
  [[nodiscard]] int ranks_of(int node) const { return first_rank(node + 1) - first_rank(node); }
  [[nodiscard]] int node_of(int rank) const;
  // Ranks of the smallest node: as many of every node's ranks talk to other nodes, each for its slice of the elements.
  [[nodiscard]] int slices() const;
};

// Nothing if the ranks of some node are not neighbours.
[[nodiscard]] std::optional<NodeLayout> layout_of(const std::vector<Peer>& peers);

}  // namespace lockstep::comm
