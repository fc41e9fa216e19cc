// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "lockstep/base/dtype.hpp"

namespace lockstep {

// min and max: NaN wins, −0 < +0. Integers wrap. A NaN result is always the canonical quiet NaN.
// avg divides the sum by the number of ranks (multiplies by its reciprocal, once).
enum class ReduceOp : std::uint8_t { sum, avg, min, max, prod, bit_and, bit_or, bit_xor };

// In which order a reduction adds up. Decides bits, not bytes moved.
enum class ReduceOrder : std::uint8_t {
  tree,  // T(n) over the leaves (tree.hpp): same bits for any world size, backend and message split
  any,   // the backend's own; equal on all ranks, but may change with world and message size
};

[[nodiscard]] std::string_view name_of(ReduceOp op) noexcept;

// Throws UsageError where (op, dtype) has no meaning: avg on integers, bitwise operations on floats, arithmetic on
// bool.
void check_reducible(ReduceOp op, DType dtype);

}  // namespace lockstep
