// SPDX-License-Identifier: Apache-2.0
#include "kernels.hpp"
#include "range_table.hpp"

namespace lockstep::comm::gpu {
namespace {

struct CopyRange {
  const void* from;
  void* to;
  std::int64_t elements;
};

template <class From, class To, bool add, int lanes, bool aligned>
__device__ void move_lanes(const From* from, To* to, double scale) {
  using Source = Lanes<From, lanes, aligned ? lanes * sizeof(From) : alignof(From)>;
  using Target = Lanes<To, lanes, aligned ? lanes * sizeof(To) : alignof(To)>;
  const Source source = *reinterpret_cast<const Source*>(from);
  Target target{};
  if constexpr (add) target = *reinterpret_cast<const Target*>(to);
  for (int i = 0; i < lanes; ++i) target.lane[i] = scaled<To, From, add>(source.lane[i], target.lane[i], scale);
  *reinterpret_cast<Target*>(to) = target;
}

template <class From, class To, bool add>
__global__ void __launch_bounds__(kBlockThreads)
    scaled_copy(const __grid_constant__ RangeTable<CopyRange> table, double scale) {
  constexpr int kLanes = static_cast<int>(16 / (sizeof(From) > sizeof(To) ? sizeof(From) : sizeof(To)));
  std::int64_t begin = 0;
  const CopyRange& range = table.find(begin);
  const From* const from = static_cast<const From*>(range.from) + begin;
  To* const to = static_cast<To*>(range.to) + begin;
  const int elements = static_cast<int>(range.elements - begin < kChunk ? range.elements - begin : kChunk);
  const bool aligned = is_aligned(from, kLanes * sizeof(From)) && is_aligned(to, kLanes * sizeof(To));
  const int vectors = aligned ? elements / kLanes : 0;
  for (int i = threadIdx.x; i < vectors; i += kBlockThreads)
    move_lanes<From, To, add, kLanes, true>(from + i * kLanes, to + i * kLanes, scale);
  for (int i = vectors * kLanes + threadIdx.x; i < elements; i += kBlockThreads)
    move_lanes<From, To, add, 1, false>(from + i, to + i, scale);
}

// All copies from From to To.
template <class From, class To>
cudaError_t copy_all(std::span<const ScaledCopy> copies, DType from, DType to, double scale, bool add,
                     cudaStream_t stream) {
  const auto launch = [&](const RangeTable<CopyRange>& table, unsigned blocks) {
    if (add) {
      scaled_copy<From, To, true><<<blocks, kBlockThreads, 0, stream>>>(table, scale);
    } else {
      scaled_copy<From, To, false><<<blocks, kBlockThreads, 0, stream>>>(table, scale);
    }
  };
  TableLauncher<CopyRange, decltype(launch)> launcher(launch);
  for (const ScaledCopy& copy : copies)
    if (copy.from_dtype == from && copy.to_dtype == to) launcher.add({copy.from, copy.to, copy.elements});
  launcher.flush();
  return launcher.status();
}

}  // namespace

cudaError_t launch_scaled_copy(std::span<const ScaledCopy> copies, double scale, bool add, cudaStream_t stream) {
  cudaError_t status = cudaSuccess;
  for (const DType from : kFloatTypes) {
    for (const DType to : kFloatTypes) {
      with_float_type(from, [&]<class From>() {
        with_float_type(to, [&]<class To>() {
          if (status == cudaSuccess) status = copy_all<From, To>(copies, from, to, scale, add, stream);
        });
      });
    }
  }
  return status;
}

}  // namespace lockstep::comm::gpu
