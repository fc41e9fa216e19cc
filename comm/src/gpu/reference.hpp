// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "cuda_api.hpp"

// What our CUDA kernels compute, on the host and in host memory: these functions define the kernels' bits. They run the
// kernels' own arithmetic (reduce_lanes.hpp, scaled_lanes.hpp). Memory is aligned to its element type. Local; none
// throws.
namespace lockstep::comm::gpu {

// CudaApi::reduce_slices(); its bits are those of reduce_slice() in kernels.hpp.
void reference_reduce_slices(const ReduceSlices& call);

// CudaApi::scaled_copy(). A NaN becomes the canonical quiet NaN.
void reference_scaled_copy(std::span<const ScaledCopy> copies, double scale, bool add);

// CudaApi::unscale(). The product is taken in float32 (float64 for float64) and rounded once to the range's dtype; what
// is squared, and asked whether it is finite, is that result. The squares are added in float64 in the order of
// scaled_lanes.hpp, which depends on the ranges' sizes alone.
void reference_unscale(const Unscale& call);

// Of Unscale::scratch.
[[nodiscard]] std::size_t unscale_scratch_bytes(std::span<const FloatRange> ranges);

}  // namespace lockstep::comm::gpu
