// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "gpu/reduce_lanes.hpp"
#include "kernels.hpp"

namespace lockstep::comm::gpu {
namespace {

constexpr int kThreads = 128;
constexpr std::size_t kSharedBytes = 48 * 1024;  // what a block may have without asking
constexpr std::int64_t kMostBlocks = 4096;       // some for each multiprocessor; the rest is the grid-stride loop's

template <class T, ReduceOp op>
__global__ void __launch_bounds__(kThreads) reduce_slices(const __grid_constant__ ReduceArguments arguments) {
  extern __shared__ __align__(16) std::byte stacks[];
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  reduce_part<T, op>(arguments, thread, static_cast<std::int64_t>(gridDim.x) * kThreads,
                     stacks + threadIdx.x * arguments.entry_bytes, kThreads * arguments.entry_bytes);
}

}  // namespace

cudaError_t launch_reduce_slices(const ReduceSlices& call, cudaStream_t stream) {
  if (call.combines.empty() || call.combines.size() > kMostInputs || call.elements < 0) return cudaErrorInvalidValue;
  if (call.elements == 0) return cudaSuccess;
  cudaError_t status = cudaErrorInvalidValue;  // where (op, dtype) has no meaning
  with_type_and_op(call.dtype, call.op, [&]<class T, ReduceOp op>() {
    const ReduceArguments arguments = reduce_arguments<T>(call, kSharedBytes / kThreads);
    const std::int64_t parts = std::max(arguments.vectors, arguments.elements - arguments.vectors * kVectorLanes<T>);
    const auto blocks = static_cast<unsigned>(std::min((parts + kThreads - 1) / kThreads, kMostBlocks));
    const auto shared = static_cast<std::size_t>(arguments.depth * arguments.entry_bytes * kThreads);
    reduce_slices<T, op><<<blocks, kThreads, shared, stream>>>(arguments);
    status = cudaGetLastError();
  });
  return status;
}

}  // namespace lockstep::comm::gpu
