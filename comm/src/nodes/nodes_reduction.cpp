// SPDX-License-Identifier: Apache-2.0
#include "nodes_reduction.hpp"

#include <algorithm>

#include "../kernels.hpp"

namespace lockstep::comm {
namespace {

constexpr std::size_t in_lines(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

std::vector<std::int64_t> leaf_bounds_of(const Request& request, int world_size) {
  std::vector<std::int64_t> bounds(request.leaf_bounds.begin(), request.leaf_bounds.end());
  if (!bounds.empty()) return bounds;
  for (int rank = 0; rank <= world_size; ++rank)
    bounds.push_back(even_split(request.call.leaves, world_size, rank).first);
  return bounds;
}

}  // namespace

NodesReduction::NodesReduction(NodesParts& parts, const Request& request)
    : NodesOperation(parts, request),
      partials_(request.partials.begin(), request.partials.end()),
      wide_(request.call.dtype == DType::float16 || request.call.dtype == DType::bfloat16),
      sum_dtype_(wide_ ? DType::float32 : request.call.dtype) {
  const std::vector<std::int64_t> bounds = leaf_bounds_of(request, parts_.flat->world_size());
  for (const int rank : parts_.layout.first_ranks) node_bounds_.push_back(bounds[static_cast<std::size_t>(rank)]);
  find_subtrees(bounds);
  sums_apart_ = wide_ || subtrees_.size() > 1;
  plan_scratch();
}

void NodesReduction::find_subtrees(const std::vector<std::int64_t>& bounds) {
  const auto node = static_cast<std::size_t>(parts_.node);
  for (const Range& leaves : subtrees_in({node_bounds_[node], node_bounds_[node + 1]}, request_.call.leaves)) {
    Subtree subtree{.leaves = leaves, .partials = {}, .leaf_bounds = {}};
    for (int rank = parts_.layout.first_rank(parts_.node); rank <= parts_.layout.first_rank(parts_.node + 1); ++rank) {
      const std::int64_t bound = bounds[static_cast<std::size_t>(rank)];
      subtree.leaf_bounds.push_back(std::clamp(bound, leaves.first, leaves.last) - leaves.first);
    }
    for (std::size_t i = 0; i < partials_.size(); ++i) {
      if (partials_[i].first_leaf >= leaves.first && partials_[i].first_leaf < leaves.last)
        subtree.partials.push_back(i);
    }
    subtrees_.push_back(std::move(subtree));
  }
}

void NodesReduction::plan_scratch() {
  std::int64_t longest = 0;
  std::int64_t longest_slice = 0;
  for (const Piece& piece : pieces_) {
    longest = std::max(longest, piece.elements.size());
    longest_slice = std::max(longest_slice, own_slice(piece).size());
  }
  if (wide_) widened_bytes_ = in_lines(static_cast<std::size_t>(longest) * sizeof(float));
  if (sums_apart_) sum_bytes_ = in_lines(static_cast<std::size_t>(longest_slice) * size_of(sum_dtype_));
  sums_at_ = widened_bytes_ * partials_.size();
  result_at_ = sums_at_ + sum_bytes_ * std::max<std::size_t>(subtrees_.size(), 1);
  enlist(result_at_ + (result_is_in_output() ? 0 : in_lines(bytes_of(longest_slice))));
}

bool NodesReduction::result_is_in_output() const {
  return is(Kind::all_reduce) || (is(Kind::reduce) && request_.call.root == parts_.flat->rank());
}

std::byte* NodesReduction::result(const Piece& piece) const {
  return result_is_in_output() ? request_.output + bytes_of(own_slice(piece).first) : piece.scratch.get() + result_at_;
}

std::byte* NodesReduction::sum(const Piece& piece, std::size_t subtree) const {
  return sums_apart_ ? piece.scratch.get() + sums_at_ + subtree * sum_bytes_ : result(piece);
}

Call NodesReduction::call(Kind kind, std::int64_t elements) const {
  return {
      .kind = kind, .dtype = sum_dtype_, .op = request_.call.op, .order = request_.call.order, .elements = elements};
}

void NodesReduction::widen_partials(Piece& piece) const {
  for (std::size_t i = 0; i < partials_.size(); ++i) {
    widen(partials_[i].data + bytes_of(piece.elements.first), piece.elements.size(), request_.call.dtype,
          reinterpret_cast<float*>(piece.scratch.get() + i * widened_bytes_));
  }
}

void NodesReduction::start_up(Piece& piece) {
  if (wide_) widen_partials(piece);
  const std::vector<std::int64_t> sizes = slices(piece);
  for (std::size_t i = 0; i < subtrees_.size(); ++i) {
    const Subtree& subtree = subtrees_[i];
    std::vector<Partial> partials;
    for (const std::size_t own : subtree.partials) {
      Partial partial = partials_[own];
      partial.first_leaf -= subtree.leaves.first;
      partial.data = wide_ ? piece.scratch.get() + own * widened_bytes_ : partial.data + bytes_of(piece.elements.first);
      partials.push_back(partial);
    }
    Request scatter{.call = call(Kind::reduce_scatter, piece.elements.size()),
                    .partials = partials,
                    .leaf_bounds = subtree.leaf_bounds,
                    .parts = sizes,
                    .output = sum(piece, i)};
    scatter.call.parts = 1;
    scatter.call.leaves = subtree.leaves.size();
    start(*parts_.up, piece, scatter);
  }
}

void NodesReduction::start_across(Piece& piece) {
  const Range slice = own_slice(piece);
  if (slice.empty()) return;
  std::vector<Partial> sums;
  for (std::size_t i = 0; i < subtrees_.size(); ++i) {
    const Range leaves = subtrees_[i].leaves;
    sums.push_back({.first_leaf = leaves.first, .leaves = leaves.size(), .data = sum(piece, i)});
  }
  Request reduction{.call = call(piece.node < 0 ? Kind::all_reduce : Kind::reduce, slice.size()),
                    .partials = sums,
                    .leaf_bounds = node_bounds_,
                    .output = wide_ ? sum(piece, 0) : result(piece)};
  reduction.call.root = piece.node;
  reduction.call.leaves = request_.call.leaves;
  reduction.call.scale = request_.call.scale;
  start(*parts_.across, piece, reduction);
}

void NodesReduction::start_down(Piece& piece) {
  if (piece.node >= 0 && piece.node != parts_.node) return;
  if (wide_) {
    narrow(reinterpret_cast<const float*>(sum(piece, 0)), own_slice(piece).size(), request_.call.dtype, result(piece));
  }
  if (is(Kind::reduce_scatter)) return scatter_rows(piece);
  if (is(Kind::all_reduce)) return gather_slices(piece, result(piece));
  const std::vector<std::int64_t> sizes = slices(piece);
  Request gather{.call = {.kind = Kind::gather, .dtype = request_.call.dtype},
                 .parts = sizes,
                 .input = result(piece),
                 .output = result_is_in_output() ? request_.output + bytes_of(piece.elements.first) : nullptr};
  gather.call.root = request_.call.root - parts_.layout.first_rank(parts_.node);
  gather.call.elements = piece.elements.size();
  gather.call.parts = 1;
  start(*parts_.down, piece, gather);
}

// Slices and rows lie one behind the other in the same elements: of each slice, every rank gets what is of its row.
void NodesReduction::scatter_rows(Piece& piece) {
  std::vector<std::int64_t> received;
  const auto own = static_cast<std::size_t>(parts_.local_rank);
  Range slice{piece.elements.first, piece.elements.first};
  for (const std::int64_t size : slices(piece)) {
    slice = {slice.last, slice.last + size};
    received.push_back(row_parts(slice)[own]);
  }
  const std::vector<std::int64_t> sent = row_parts(own_slice(piece));
  start(*parts_.down, piece,
        {.call = {.kind = Kind::all_to_all, .dtype = request_.call.dtype, .parts = 1},
         .parts = sent,
         .received_parts = received,
         .input = result(piece),
         .output = request_.output + bytes_of(position_in_own_row(piece))});
}

}  // namespace lockstep::comm
