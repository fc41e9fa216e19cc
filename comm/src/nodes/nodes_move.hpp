// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "nodes_operation.hpp"

namespace lockstep::comm {

// broadcast and all_gather. Up, on the node that has the piece: every rank gets its slice of it (broadcast), or all of
// it (all_gather). Across: the slices go to all nodes. Down: a node's ranks give each other their slices.
class NodesMove final : public NodesOperation {
 public:
  NodesMove(NodesParts& parts, const Request& request);

 private:
  void start_up(Piece& piece) override;
  void start_across(Piece& piece) override;
  void start_down(Piece& piece) override;
};

}  // namespace lockstep::comm
