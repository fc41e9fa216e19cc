// SPDX-License-Identifier: Apache-2.0
#include "node_layout.hpp"

#include <algorithm>
#include <set>

namespace lockstep::comm {

int NodeLayout::node_of(int rank) const {
  return static_cast<int>(std::upper_bound(first_ranks.begin(), first_ranks.end(), rank) - first_ranks.begin()) - 1;
}

int NodeLayout::slices() const {
  int least = ranks_of(0);
  for (int node = 1; node < nodes(); ++node) least = std::min(least, ranks_of(node));
  return least;
}

std::optional<NodeLayout> layout_of(const std::vector<Peer>& peers) {
  NodeLayout layout;
  std::set<int> seen;
  for (std::size_t rank = 0; rank < peers.size(); ++rank) {
    if (rank > 0 && peers[rank].node == peers[rank - 1].node) continue;
    if (!seen.insert(peers[rank].node).second) return std::nullopt;
    layout.first_ranks.push_back(static_cast<int>(rank));
  }
  layout.first_ranks.push_back(static_cast<int>(peers.size()));
  return layout;
}

}  // namespace lockstep::comm
