// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lockstep/comm/backend.hpp"
#include "lockstep/comm/communicator.hpp"

// Every call of Communicator over every combination of what it can depend on, compared with the oracle bit for bit.
namespace lockstep::testing {

inline constexpr std::int64_t kLargestSize = 70'001;

struct MatrixCell {
  comm::Kind kind = comm::Kind::all_reduce;
  bool parts = false;  // of different sizes, some empty
  DType dtype = DType::float32;
  ReduceOp op = ReduceOp::sum;
  double scale = 1.0;
  std::int64_t elements = 0;  // of all parts together, about
  bool in_place = false;
  bool aligned = true;     // else memory begins one element behind a 64-byte boundary
  bool allocated = false;  // the memory is from Communicator::allocate()
};

[[nodiscard]] std::string to_string(const MatrixCell& cell);

[[nodiscard]] std::vector<MatrixCell> all_reductions();
[[nodiscard]] std::vector<MatrixCell> all_moves();

// Some of `cells` that hold every value of every factor together with every value of every other one.
[[nodiscard]] std::vector<MatrixCell> every_pair_of_factors(std::vector<MatrixCell> cells, unsigned seed);

// Collective. Each cell's call, by all ranks; checks results, that inputs are as before, and that nothing beside the
// outputs was written.
void check_cells(Communicator& world, const std::vector<MatrixCell>& cells);

// Collective. Calls whose (dtype, op) or scale has no meaning are refused, and the communicator stays good.
void check_refusals(Communicator& world);

// Collective. A sum over 12 leaves has the bits of the oracle, so the same ones at every number of ranks.
void check_fixed_leaves(Communicator& world);

// Collective. A tensor reduced in one call, or in many pieces that are in flight together, from other memory.
void check_splits(Communicator& world);

}  // namespace lockstep::testing
