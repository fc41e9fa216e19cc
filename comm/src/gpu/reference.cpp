// SPDX-License-Identifier: Apache-2.0
#include "reference.hpp"

#include <algorithm>
#include <array>

#include "reduce_lanes.hpp"
#include "scaled_lanes.hpp"

namespace lockstep::comm::gpu {
namespace {

using LaneSums = std::array<double, kUnscaleLanes>;

double added_up(LaneSums sums) {
  for (std::size_t half = sums.size() / 2; half > 0; half /= 2)
    for (std::size_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  return sums[0];
}

// Unscales one chunk; the sum of its squares.
template <class T>
double unscale_chunk(T* values, std::int64_t elements, float scale, bool& finite) {
  LaneSums sums{};
  for (std::int64_t i = 0; i < elements; ++i) {
    double& sum = sums[static_cast<std::size_t>(i / kUnscaleGroup % kUnscaleLanes)];
    values[i] = unscaled(values[i], scale, sum, finite);
  }
  return added_up(sums);
}

template <class From, class To>
void copy_scaled(const ScaledCopy& copy, double scale, bool add) {
  const auto* const from = static_cast<const From*>(copy.from);
  auto* const to = static_cast<To*>(copy.to);
  for (std::int64_t i = 0; i < copy.elements; ++i)
    to[i] = add ? scaled<To, From, true>(from[i], to[i], scale) : scaled<To, From, false>(from[i], to[i], scale);
}

}  // namespace

void reference_reduce_slices(const ReduceSlices& call) {
  with_type_and_op(call.dtype, call.op, [&]<class T, ReduceOp op>() {
    constexpr int kDeepest = 32;  // more than log2 of any number of leaves
    alignas(16) std::array<std::byte, kDeepest * kMostEntryBytes<T>> stack;
    reduce_part<T, op>(reduce_arguments<T>(call, sizeof(stack)), 0, 1, stack.data(), kMostEntryBytes<T>);
  });
}

void reference_scaled_copy(std::span<const ScaledCopy> copies, double scale, bool add) {
  for (const ScaledCopy& copy : copies) {
    with_float_type(copy.from_dtype, [&]<class From>() {
      with_float_type(copy.to_dtype, [&]<class To>() { copy_scaled<From, To>(copy, scale, add); });
    });
  }
}

void reference_unscale(const Unscale& call) {
  LaneSums sums{};
  bool finite = true;
  std::size_t chunk = 0;
  for (const FloatRange& range : call.ranges) {
    with_float_type(range.dtype, [&]<class T>() {
      for (std::int64_t begin = 0; begin < range.elements; begin += kUnscaleChunk) {
        const std::int64_t elements = std::min(range.elements - begin, kUnscaleChunk);
        sums[chunk++ % kUnscaleLanes] +=
            unscale_chunk(static_cast<T*>(range.data) + begin, elements, *call.scale, finite);
      }
    });
  }
  if (!finite) *call.non_finite = 1.0F;
  *call.squared_norm = added_up(sums);
}

std::size_t unscale_scratch_bytes(std::span<const FloatRange> ranges) {
  std::int64_t chunks = 0;
  for (const FloatRange& range : ranges) chunks += chunks_of(range.elements, kUnscaleChunk);
  return static_cast<std::size_t>(chunks) * sizeof(double);
}

}  // namespace lockstep::comm::gpu
