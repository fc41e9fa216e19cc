// SPDX-License-Identifier: Apache-2.0
#include "lockstep/comm/tree.hpp"

#include <algorithm>
#include <bit>

namespace lockstep {
namespace {

// Collects the maximal nodes inside `owned` of the subtree over `node`.
void collect(Range node, Range owned, std::vector<Range>& found) {
  const std::int64_t first = std::max(node.first, owned.first);
  const std::int64_t last = std::min(node.last, owned.last);
  if (first >= last) return;
  if (first == node.first && last == node.last) {
    found.push_back(node);
    return;
  }
  const std::int64_t middle = node.first + left_leaves(node.size());
  collect({node.first, middle}, owned, found);
  collect({middle, node.last}, owned, found);
}

}  // namespace

std::int64_t left_leaves(std::int64_t leaves) noexcept {
  return static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(leaves - 1)));
}

bool is_subtree(Range leaves, std::int64_t total) noexcept {
  Range node{0, total};
  while (node != leaves) {
    if (node.size() <= leaves.size() || leaves.empty()) return false;
    const std::int64_t middle = node.first + left_leaves(node.size());
    node = leaves.first < middle ? Range{node.first, middle} : Range{middle, node.last};
  }
  return true;
}

std::vector<Range> subtrees_in(Range owned, std::int64_t total) {
  std::vector<Range> found;
  collect({0, total}, owned, found);
  return found;
}

}  // namespace lockstep
