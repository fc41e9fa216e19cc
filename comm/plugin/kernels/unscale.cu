// SPDX-License-Identifier: Apache-2.0
#include "kernels.hpp"
#include "range_table.hpp"

namespace lockstep::comm::gpu {
namespace {

struct UnscaleRange {
  void* data;
  std::int64_t elements;
  double* sums;  // one a chunk
};

// The sum over the block's threads, for thread 0; the order is that of scaled_lanes.hpp.
__device__ double block_sum(double sum) {
  __shared__ double sums[kUnscaleLanes];
  sums[threadIdx.x] = sum;
  for (int half = kUnscaleLanes / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  return sums[0];
}

template <class T>
__device__ void unscale_group(T* values, int elements, float scale, bool aligned, double& sum, bool& finite) {
  constexpr std::size_t kBytes = kUnscaleGroup * sizeof(T) < 16 ? kUnscaleGroup * sizeof(T) : 16;
  using Group = Lanes<T, kUnscaleGroup, kBytes>;
  if (aligned && elements >= kUnscaleGroup) {
    Group group = *reinterpret_cast<const Group*>(values);
    for (int i = 0; i < kUnscaleGroup; ++i) group.lane[i] = unscaled(group.lane[i], scale, sum, finite);
    *reinterpret_cast<Group*>(values) = group;
  } else {
    for (int i = 0; i < kUnscaleGroup; ++i)
      if (i < elements) values[i] = unscaled(values[i], scale, sum, finite);
  }
}

template <class T>
__global__ void __launch_bounds__(kUnscaleLanes)
    unscale_chunks(const __grid_constant__ RangeTable<UnscaleRange> table, const float* scale, float* non_finite) {
  std::int64_t begin = 0;
  const UnscaleRange& range = table.find(begin);
  T* const values = static_cast<T*>(range.data) + begin;
  const int elements = static_cast<int>(range.elements - begin < kChunk ? range.elements - begin : kChunk);
  const bool aligned = is_aligned(values, 16);
  const float factor = *scale;
  double sum = 0;
  bool finite = true;
  for (int i = threadIdx.x * kUnscaleGroup; i < elements; i += kUnscaleLanes * kUnscaleGroup)
    unscale_group(values + i, elements - i, factor, aligned, sum, finite);
  const bool all_finite = __syncthreads_and(finite) != 0;
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  range.sums[begin / kChunk] = sum;
  if (!all_finite) *non_finite = 1.0F;  // many blocks may write it, all the same
}

__global__ void __launch_bounds__(kUnscaleLanes) add_chunks(const double* sums, std::int64_t chunks, double* total) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < chunks; i += kUnscaleLanes) sum = sum + sums[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *total = sum;
}

// All ranges of T's; their chunks' sums go where those of all ranges lie in order. `chunks`: of all ranges.
template <class T>
cudaError_t unscale_all(const Unscale& call, DType dtype, std::int64_t& chunks, cudaStream_t stream) {
  const auto launch = [&](const RangeTable<UnscaleRange>& table, unsigned blocks) {
    unscale_chunks<T><<<blocks, kUnscaleLanes, 0, stream>>>(table, call.scale, call.non_finite);
  };
  TableLauncher<UnscaleRange, decltype(launch)> launcher(launch);
  chunks = 0;
  for (const FloatRange& range : call.ranges) {
    if (range.dtype == dtype)
      launcher.add({range.data, range.elements, reinterpret_cast<double*>(call.scratch) + chunks});
    chunks += chunks_of(range.elements, kChunk);
  }
  launcher.flush();
  return launcher.status();
}

}  // namespace

cudaError_t launch_unscale(const Unscale& call, cudaStream_t stream) {
  cudaError_t status = cudaSuccess;
  std::int64_t chunks = 0;
  for (const DType dtype : kFloatTypes) {
    with_float_type(dtype, [&]<class T>() {
      if (status == cudaSuccess) status = unscale_all<T>(call, dtype, chunks, stream);
    });
  }
  if (status != cudaSuccess) return status;
  add_chunks<<<1, kUnscaleLanes, 0, stream>>>(reinterpret_cast<const double*>(call.scratch), chunks, call.squared_norm);
  return cudaGetLastError();
}

}  // namespace lockstep::comm::gpu
