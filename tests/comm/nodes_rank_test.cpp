// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "lockstep/comm/communicator.hpp"
#include "support/rank_world.hpp"

namespace lockstep::testing {
namespace {

// More than one piece, whose steps overlap; unequal rows, of which some end inside a piece.
TEST(Nodes, large_calls_have_the_bits_of_mpi) {
  constexpr std::int64_t kElements = 2'500'003;
  Communicator& nodes = world("nodes");
  std::mt19937 generator(static_cast<unsigned>(nodes.rank()));
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
    std::vector<std::byte> input(static_cast<std::size_t>(kElements) * size_of(dtype));
    for (std::byte& byte : input) byte = static_cast<std::byte>(generator());  // infinities and NaNs are among them
    std::vector<std::byte> on_nodes = input;
    std::vector<std::byte> on_mpi(input.size());
    nodes.all_reduce({on_nodes.data(), kElements, dtype}).wait();
    world("mpi").all_reduce({on_mpi.data(), kElements, dtype}, input.data()).wait();
    EXPECT_TRUE(on_nodes == on_mpi) << "all_reduce of " << name_of(dtype);
    std::vector<std::int64_t> parts(static_cast<std::size_t>(nodes.world_size()), 0);
    parts.front() = kElements / 3;
    parts.back() += kElements - kElements / 3;
    const std::int64_t own = parts[static_cast<std::size_t>(nodes.rank())];
    nodes.reduce_scatter({on_nodes.data(), own, dtype}, input.data(), parts).wait();
    world("mpi").reduce_scatter({on_mpi.data(), own, dtype}, input.data(), parts).wait();
    EXPECT_TRUE(std::equal(on_nodes.begin(), on_nodes.begin() + own * static_cast<std::ptrdiff_t>(size_of(dtype)),
                           on_mpi.begin()))
        << "reduce_scatter of " << name_of(dtype);
  }
}

}  // namespace
}  // namespace lockstep::testing
