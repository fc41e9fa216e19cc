// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include "gpu/cuda_api.hpp"

// Our kernels: what CudaApi's functions of the same names queue on a stream. Memory is aligned to its element type.
// They allocate nothing and can be captured into a CUDA graph. Each returns the error of its launches, and
// cudaErrorInvalidValue for arguments that have no meaning, and leaves CUDA's last error clear.
namespace lockstep::comm::gpu {

[[nodiscard]] cudaError_t launch_reduce_slices(const ReduceSlices& call, cudaStream_t stream);
[[nodiscard]] cudaError_t launch_scaled_copy(std::span<const ScaledCopy> copies, double scale, bool add,
                                             cudaStream_t stream);
[[nodiscard]] cudaError_t launch_unscale(const Unscale& call, cudaStream_t stream);

}  // namespace lockstep::comm::gpu
