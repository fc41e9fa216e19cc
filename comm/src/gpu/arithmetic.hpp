// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "lockstep/base/dtype.hpp"
#include "lockstep/comm/reduce_op.hpp"

#ifdef __CUDACC__
#define LOCKSTEP_HOST_DEVICE __host__ __device__
#else
#define LOCKSTEP_HOST_DEVICE
#endif

// The arithmetic of one element, as the host's reductions have it, for host and device: integer operations and single
// float operations only, whose bits IEEE 754 defines. Compiled without contraction (-ffp-contract=off, -fmad=false).
namespace lockstep::comm::gpu {

#include "../arithmetic.inc"

template <class T>
using Accumulator = typename AccumulatorOf<T>::Type;

// As it enters a sum: 16-bit floats become float32.
template <class T>
LOCKSTEP_HOST_DEVICE inline Accumulator<T> widened(T value) {
  if constexpr (__is_same(T, Accumulator<T>)) {
    return value;
  } else {
    return widen(value);
  }
}

// To the odd one of the two float32 around an inexact `value`: rounded again to 16 bits, it is as if rounded once.
LOCKSTEP_HOST_DEVICE inline float to_odd(double value) {
  const auto nearest = static_cast<float>(value);
  const std::uint32_t bits = as_bits(nearest);
  const auto back = static_cast<double>(nearest);
  if (back == value || value != value || (bits & 1U) != 0) return nearest;
  const bool away = sign_of(value) ? back < value : back > value;
  return as_float(away ? bits - 1U : bits + 1U);
}

// `value` as a T: rounded once to nearest even, a NaN canonical.
template <class T, class A>
LOCKSTEP_HOST_DEVICE inline T narrowed(A value) {
  if constexpr (__is_same(T, Half) || __is_same(T, BFloat16)) {
    if constexpr (__is_same(A, double)) {
      return finished<T>(to_odd(value), 1.0F);
    } else {
      return finished<T>(value, 1.0F);
    }
  } else {
    return canonical(static_cast<T>(value));
  }
}

// `count` values that a thread moves at once; a multiple of 16 bytes, in loads of 16 bytes, where `aligned_bytes`
// is 16.
template <class T, int count, std::size_t aligned_bytes = alignof(T)>
struct alignas(aligned_bytes) Lanes {
  T lane[count];
};

inline constexpr DType kFloatTypes[] = {DType::float64, DType::float32, DType::float16, DType::bfloat16};

// use.template operator()<T>() for the type of `dtype`; the first not called for integers.
template <class Use>
void with_float_type(DType dtype, const Use& use) {
  switch (dtype) {
    case DType::float64:
      return use.template operator()<double>();
    case DType::float32:
      return use.template operator()<float>();
    case DType::float16:
      return use.template operator()<Half>();
    case DType::bfloat16:
      return use.template operator()<BFloat16>();
    case DType::int64:
    case DType::int32:
    case DType::int16:
    case DType::int8:
    case DType::uint8:
    case DType::boolean:
      return;
  }
}

template <class Use>
void with_type(DType dtype, const Use& use) {
  switch (dtype) {
    case DType::int64:
      return use.template operator()<std::int64_t>();
    case DType::int32:
      return use.template operator()<std::int32_t>();
    case DType::int16:
      return use.template operator()<std::int16_t>();
    case DType::int8:
      return use.template operator()<std::int8_t>();
    case DType::uint8:
    case DType::boolean:
      return use.template operator()<std::uint8_t>();
    case DType::float64:
    case DType::float32:
    case DType::float16:
    case DType::bfloat16:
      return with_float_type(dtype, use);
  }
}

// use.template operator()<T, op>(); not called where (op, dtype) has no meaning. avg is a sum with a factor.
template <class Use>
void with_type_and_op(DType dtype, ReduceOp op, const Use& use) {
  with_type(dtype, [&]<class T>() {
    switch (op) {
      case ReduceOp::sum:
      case ReduceOp::avg:
        return use.template operator()<T, ReduceOp::sum>();
      case ReduceOp::min:
        return use.template operator()<T, ReduceOp::min>();
      case ReduceOp::max:
        return use.template operator()<T, ReduceOp::max>();
      case ReduceOp::prod:
        return use.template operator()<T, ReduceOp::prod>();
      case ReduceOp::bit_and:
        if constexpr (std::is_integral_v<T>) use.template operator()<T, ReduceOp::bit_and>();
        return;
      case ReduceOp::bit_or:
        if constexpr (std::is_integral_v<T>) use.template operator()<T, ReduceOp::bit_or>();
        return;
      case ReduceOp::bit_xor:
        if constexpr (std::is_integral_v<T>) use.template operator()<T, ReduceOp::bit_xor>();
        return;
    }
  });
}

}  // namespace lockstep::comm::gpu
