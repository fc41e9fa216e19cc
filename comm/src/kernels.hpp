// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm {

// Where the partial sums of all ranks lie, in the order of their leaves, for one slice of the elements.
struct SliceInputs {
  std::span<const Partial> partials;  // of all ranks, ascending first_leaf, together 0 … leaves−1; data at the slice
  std::int64_t leaves = 1;
};

// The order of additions of T(leaves) over `partials`: after taking input i, the topmost `combines[i]` pairs are added.
[[nodiscard]] std::vector<int> combines_after(std::span<const Partial> partials, std::int64_t leaves);

// output[0 … elements) = scale · reduction in the order of T(leaves), rounded once to dtype. 16-bit floats are summed
// in float32. `output` may be the memory of an input. This scalar code defines the bits.
void reduce_slice(const SliceInputs& inputs, std::int64_t elements, DType dtype, ReduceOp op, double scale,
                  std::byte* output);

}  // namespace lockstep::comm
