// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "comm/matrix.hpp"
#include "comm/oracle.hpp"

namespace lockstep::testing {
namespace {

constexpr std::int64_t kLeaves = 12;

Bytes sum_of(DType dtype, const std::vector<Bytes>& leaves, Range range, double scale) {
  const std::span<const Bytes> all(leaves);
  return reduce_by_oracle(dtype, ReduceOp::sum, scale,
                          all.subspan(static_cast<std::size_t>(range.first), static_cast<std::size_t>(range.size())));
}

}  // namespace

void check_fixed_leaves(Communicator& world) {
  for (const DType dtype : {DType::float32, DType::float64}) {
    for (const std::int64_t elements : {std::int64_t{1}, std::int64_t{1237}, std::int64_t{20'011}}) {
      std::vector<Bytes> leaves;
      for (int leaf = 0; leaf < kLeaves; ++leaf)
        leaves.push_back(random_values(dtype, elements, static_cast<std::uint64_t>(leaf)));
      std::vector<Bytes> sums;
      std::vector<Partial> partials;
      for (const Range& node : subtrees_in(even_split(kLeaves, world.world_size(), world.rank()), kLeaves)) {
        sums.push_back(sum_of(dtype, leaves, node, 1.0));
        partials.push_back({.first_leaf = node.first, .leaves = node.size()});
      }
      for (std::size_t i = 0; i < sums.size(); ++i) partials[i].data = sums[i].data();
      Bytes result(leaves[0].size());
      world.reduce_partials({result.data(), elements, dtype}, {partials, kLeaves, 1.0 / kLeaves}).wait();
      EXPECT_TRUE(result == sum_of(dtype, leaves, {0, kLeaves}, 1.0 / kLeaves)) << elements << " × " << name_of(dtype);
    }
  }
}

void check_splits(Communicator& world) {
  std::mt19937 random(3);  // the same on every rank
  for (const DType dtype : kDTypes) {
    const ReduceOp op = dtype == DType::boolean ? ReduceOp::max : ReduceOp::sum;
    const std::size_t size = size_of(dtype);
    Bytes whole = random_values(dtype, kLargestSize, static_cast<std::uint64_t>(world.rank()));
    const auto pieces = world.allocate(whole.size());
    std::copy(whole.begin(), whole.end(), pieces.get());
    world.all_reduce({whole.data(), kLargestSize, dtype}, op).wait();
    std::vector<Work> works;
    for (std::int64_t first = 0; first < kLargestSize;) {
      const std::int64_t longest = random() % 3 == 0 ? 30'000 : 300;
      const std::int64_t elements = std::min<std::int64_t>(1 + random() % longest, kLargestSize - first);
      works.push_back(world.all_reduce({pieces.get() + static_cast<std::size_t>(first) * size, elements, dtype}, op));
      first += elements;
    }
    for (Work& work : works) work.wait();
    EXPECT_TRUE(std::equal(whole.begin(), whole.end(), pieces.get())) << name_of(dtype);
  }
  world.barrier();
}

}  // namespace lockstep::testing
