// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "lockstep/base/split.hpp"

namespace lockstep {

// The summation tree T(n) over leaves 0 … n−1: one leaf, or (left subtree) + (right subtree), split at the largest
// power of two below n (the tree of RFC 6962, section 2.1). It is defined over leaves, never over ranks: this is what
// makes a sum the same at any world size.

// Leaves of the left subtree of T(leaves); leaves ≥ 2.
[[nodiscard]] std::int64_t left_leaves(std::int64_t leaves) noexcept;

// Whether `leaves` are exactly the leaves of one node of T(total).
[[nodiscard]] bool is_subtree(Range leaves, std::int64_t total) noexcept;

// The nodes of T(total) that lie in `owned` and whose parents do not, from left to right: the partial sums that a rank
// owning these leaves contributes. At most 2·log2(total) of them; one if `owned` is itself a node.
[[nodiscard]] std::vector<Range> subtrees_in(Range owned, std::int64_t total);

// A sum of consecutive leaves that is one node of T(total), before the final scaling.
struct Partial {
  std::int64_t first_leaf = 0;
  std::int64_t leaves = 1;
  const std::byte* data = nullptr;
  [[nodiscard]] Range range() const noexcept { return {first_leaf, first_leaf + leaves}; }
};

}  // namespace lockstep
