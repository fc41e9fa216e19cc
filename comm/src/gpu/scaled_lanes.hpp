// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "arithmetic.hpp"

// The arithmetic of the scaled_copy and unscale kernels, and the order in which unscale adds up.
namespace lockstep::comm::gpu {

template <class A, class T>
LOCKSTEP_HOST_DEVICE inline A converted(T value) {
  return static_cast<A>(widened(value));
}

// Float64 if one of the two is.
template <class From, class To>
using ScaledAccumulator = decltype(Accumulator<From>{} + Accumulator<To>{});

// What scaled_copy() makes of one element; `old` is what `to` holds. IEEE 754 gives −0 + 0 = +0, so no compiler may
// leave the zero out.
template <class To, class From, bool add>
LOCKSTEP_HOST_DEVICE inline To scaled(From value, To old, double scale) {
  using A = ScaledAccumulator<From, To>;
  const A product = converted<A>(value) * static_cast<A>(scale);
  if constexpr (add) {
    return narrowed<To>(converted<A>(old) + product);
  } else {
    return narrowed<To>(product + A{0});
  }
}

// A range is cut into chunks. In a chunk, neighbours of kUnscaleGroup elements go to one lane, and groups to the lanes
// in turn; a lane adds up its squares in ascending order, then halves of the lanes are added until one is left. The
// sums of the chunks of all ranges are added up in the same way: chunk c to lane c mod kUnscaleLanes.
inline constexpr int kUnscaleLanes = 256;
inline constexpr int kUnscaleGroup = 4;
inline constexpr std::int64_t kUnscaleChunk = 8192;

LOCKSTEP_HOST_DEVICE inline std::int64_t chunks_of(std::int64_t elements, std::int64_t chunk) {
  return (elements + chunk - 1) / chunk;
}

// One element of unscale(), whose square is added to `sum`. Infinity less itself is NaN.
template <class T>
LOCKSTEP_HOST_DEVICE inline T unscaled(T value, float scale, double& sum, bool& finite) {
  using A = Accumulator<T>;
  const T result = narrowed<T>(widened(value) * static_cast<A>(scale));
  const double wide = converted<double>(result);
  finite = finite && wide - wide == 0.0;
  sum = sum + wide * wide;
  return result;
}

}  // namespace lockstep::comm::gpu
