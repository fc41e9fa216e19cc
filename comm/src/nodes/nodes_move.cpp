// SPDX-License-Identifier: Apache-2.0
#include "nodes_move.hpp"

namespace lockstep::comm {

NodesMove::NodesMove(NodesParts& parts, const Request& request) : NodesOperation(parts, request) { enlist(0); }

void NodesMove::start_up(Piece& piece) {
  if (piece.node != parts_.node) return;
  const Call call{.dtype = request_.call.dtype, .elements = piece.elements.size(), .parts = 1};
  if (is(Kind::all_gather)) {
    const std::vector<std::int64_t> sizes = row_parts(piece.elements);
    Request gather{.call = call,
                   .parts = sizes,
                   .input = request_.input + bytes_of(position_in_own_row(piece)),
                   .output = request_.output + bytes_of(piece.elements.first)};
    gather.call.kind = Kind::all_gather;
    return start(*parts_.up, piece, gather);
  }
  const std::vector<std::int64_t> sizes = slices(piece);
  const bool root = request_.call.root == parts_.flat->rank();
  Request scatter{.call = call,
                  .parts = sizes,
                  .input = root ? request_.input + bytes_of(piece.elements.first) : nullptr,
                  .output = request_.output + bytes_of(own_slice(piece).first)};
  scatter.call.kind = Kind::scatter;
  scatter.call.root = request_.call.root - parts_.layout.first_rank(parts_.node);
  start(*parts_.up, piece, scatter);
}

void NodesMove::start_across(Piece& piece) {
  const Range slice = own_slice(piece);
  if (slice.empty()) return;
  std::byte* const memory = request_.output + bytes_of(slice.first);
  start(*parts_.across, piece,
        {.call = {.kind = Kind::broadcast, .dtype = request_.call.dtype, .root = piece.node, .elements = slice.size()},
         .input = memory,
         .output = memory});
}

void NodesMove::start_down(Piece& piece) {
  if (is(Kind::all_gather) && piece.node == parts_.node) return;
  gather_slices(piece, request_.output + bytes_of(own_slice(piece).first));
}

}  // namespace lockstep::comm
