// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <vector>

namespace lockstep::comm {

// Numbers the nodes of `ranks` (Peer, or what becomes one), whatever their numbers are, 0, 1, … in the order in which
// they occur, and the ranks on each.
template <class Rank>
void number_nodes(std::vector<Rank>& ranks) {
  struct Node {
    int index;
    int ranks;
  };
  std::map<int, Node> nodes;
  for (Rank& rank : ranks) {
    Node& node = nodes.try_emplace(rank.node, Node{static_cast<int>(nodes.size()), 0}).first->second;
    rank.node = node.index;
    rank.local_rank = node.ranks++;
  }
}

}  // namespace lockstep::comm
