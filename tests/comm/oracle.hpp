// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lockstep/base/dtype.hpp"
#include "lockstep/comm/reduce_op.hpp"

// What reductions must give, bit for bit, written as plainly as possible and sharing no code with comm/src: its own
// tree, its own conversions, one element at a time.
namespace lockstep::testing {

using Bytes = std::vector<std::byte>;

inline constexpr DType kDTypes[] = {DType::float64, DType::float32, DType::float16, DType::bfloat16, DType::int64,
                                    DType::int32,   DType::int16,   DType::int8,    DType::uint8,    DType::boolean};
inline constexpr ReduceOp kOps[] = {ReduceOp::sum,  ReduceOp::avg,     ReduceOp::min,    ReduceOp::max,
                                    ReduceOp::prod, ReduceOp::bit_and, ReduceOp::bit_or, ReduceOp::bit_xor};

// Whether an average, a sum, … of such values is one.
[[nodiscard]] bool has_meaning(DType dtype, ReduceOp op);

// `elements` values that `seed` draws. At a third of the positions special ones: NaNs with payloads and signs, ±Inf,
// ±0, denormals, the smallest and the largest; at a third any bits; at a third values of similar size and few bits,
// whose sums are often half-way between two.
[[nodiscard]] Bytes random_values(DType dtype, std::int64_t elements, std::uint64_t seed);

// The value of a float, exactly.
[[nodiscard]] double value_at(const Bytes& bytes, std::size_t index, DType dtype);
// Rounded to nearest, ties to even; every NaN becomes the canonical one.
void set_value(Bytes& bytes, std::size_t index, DType dtype, double value);

// The reduction in the order of T(leaves.size()), multiplied once by `scale`, rounded once.
[[nodiscard]] Bytes reduce_by_oracle(DType dtype, ReduceOp op, double scale, std::span<const Bytes> leaves);

}  // namespace lockstep::testing
