// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "comm/matrix.hpp"

namespace lockstep::testing {

// What a cell's call does, seen from one rank, in elements.
struct Effect {
  struct Block {
    std::int64_t at;     // in the output
    int from;            // the rank whose input it is; kReduction: the reduction of all inputs
    std::int64_t first;  // there
    std::int64_t elements;
  };
  static constexpr int kReduction = -1;
  std::int64_t input = 0;
  std::int64_t output = 0;
  std::vector<Block> blocks{};  // of the output, one behind the other
};
[[nodiscard]] Effect effect_of(const MatrixCell& cell, int rank, int ranks, int root);

// Starts the call. In place, `output` is where the input has the same elements; a broadcast is always in place.
[[nodiscard]] std::vector<Work> start_call(Communicator& world, const MatrixCell& cell, int root, std::byte* input,
                                           std::byte* output);

}  // namespace lockstep::testing
