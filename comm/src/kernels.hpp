// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm {

// The order of additions of T(leaves) over `partials` (of all ranks, ascending, together 0 … leaves−1): after taking
// input i, the topmost result[i] pairs are added.
[[nodiscard]] std::vector<int> combines_after(std::span<const Partial> partials, std::int64_t leaves);

// output[0 … elements) = scale · reduction of the inputs, added up as `combines` says, rounded once to dtype. 16-bit
// floats are summed in float32. The result is also written to each of `copies`. `output` and the copies may each be one
// of the inputs, but overlap none otherwise. Uses the widest instruction set that the CPU has; the bits are those of
// the scalar code.
void reduce_slice(std::span<const std::byte* const> inputs, std::span<const int> combines, std::int64_t elements,
                  DType dtype, ReduceOp op, double scale, std::byte* output, std::span<std::byte* const> copies = {});

// Between a 16-bit float, `dtype`, and float32: exactly, and rounded once, as reduce_slice() does it.
void widen(const std::byte* input, std::int64_t elements, DType dtype, float* output);
void narrow(const float* input, std::int64_t elements, DType dtype, std::byte* output);

// One instruction set's code for every (dtype, op); null where the operation has no meaning.
struct KernelTable {
  using Reduce = void (*)(const std::byte* const* inputs, const int* combines, int count, std::int64_t elements,
                          double scale, std::byte* output, std::byte* const* copies, int copies_count);
  const char* name;
  Reduce reduce[10][8];                                                             // by DType, ReduceOp
  void (*widen[2])(const std::byte* input, std::int64_t elements, float* output);   // float16, bfloat16
  void (*narrow[2])(const float* input, std::int64_t elements, std::byte* output);  // float16, bfloat16
};
[[nodiscard]] const KernelTable& scalar_kernels() noexcept;
[[nodiscard]] const KernelTable& avx2_kernels() noexcept;
[[nodiscard]] const KernelTable& avx512_kernels() noexcept;

// Those that this CPU can run, scalar first, widest last.
[[nodiscard]] std::vector<const KernelTable*> available_kernels();

}  // namespace lockstep::comm
