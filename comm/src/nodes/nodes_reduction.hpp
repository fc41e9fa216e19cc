// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "nodes_operation.hpp"

namespace lockstep::comm {

// all_reduce, reduce, reduce_scatter. Up: the node's ranks add up the subtrees that lie in the node's leaves, each rank
// its slice. Across: these sums are added up in the order of the whole tree, and scaled. Down: the slices go to where
// the result is wanted. Between the stages 16-bit floats are float32, so that they are rounded once.
class NodesReduction final : public NodesOperation {
 public:
  NodesReduction(NodesParts& parts, const Request& request);

 private:
  // A node of the tree whose leaves are all ours (this host's), and what this rank has of it.
  struct Subtree {
    Range leaves;
    std::vector<std::size_t> partials;      // which of partials_
    std::vector<std::int64_t> leaf_bounds;  // by local rank, counted from leaves.first
  };
  void start_up(Piece& piece) override;
  void start_across(Piece& piece) override;
  void start_down(Piece& piece) override;

  void find_subtrees(const std::vector<std::int64_t>& leaf_bounds);
  void plan_scratch();
  [[nodiscard]] Call call(Kind kind, std::int64_t elements) const;
  [[nodiscard]] bool result_is_in_output() const;
  // Of the slice: the sum of subtree i, and the reduction in the dtype of the call.
  [[nodiscard]] std::byte* sum(const Piece& piece, std::size_t subtree) const;
  [[nodiscard]] std::byte* result(const Piece& piece) const;
  void widen_partials(Piece& piece) const;
  void scatter_rows(Piece& piece);

  std::vector<Partial> partials_;  // this rank's
  std::vector<std::int64_t> node_bounds_;
  std::vector<Subtree> subtrees_;
  bool wide_;        // sums are float32 and the result is 16-bit
  bool sums_apart_;  // from the result
  DType sum_dtype_;
  // Scratch memory: the widened partial sums, the subtrees' sums, the result.
  std::size_t widened_bytes_ = 0, sum_bytes_ = 0;  // of one of them
  std::size_t sums_at_ = 0, result_at_ = 0;
};

}  // namespace lockstep::comm
