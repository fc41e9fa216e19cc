// SPDX-License-Identifier: Apache-2.0
#include "kernels.hpp"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>
#include <type_traits>

namespace lockstep::comm {
namespace {

constexpr std::int64_t kChunk = 2048;  // elements; a few accumulators of this size stay in the first-level cache

template <class T>
using Accumulator = std::conditional_t<std::is_same_v<T, c10::Half> || std::is_same_v<T, c10::BFloat16>, float, T>;

// Integers wrap: arithmetic is done on the unsigned type of the same width.
template <class A>
using Arithmetic =
    typename std::conditional_t<std::is_integral_v<A>, std::make_unsigned<A>, std::type_identity<A>>::type;

template <ReduceOp op, class A>
inline A combine(A a, A b) {
  using U = Arithmetic<A>;
  if constexpr (op == ReduceOp::sum) {
    return static_cast<A>(static_cast<U>(static_cast<U>(a) + static_cast<U>(b)));
  } else if constexpr (op == ReduceOp::prod) {
    // A product of two 16-bit values overflows int: go through 64 bits.
    if constexpr (std::is_integral_v<A>) {
      return static_cast<A>(static_cast<U>(static_cast<std::uint64_t>(static_cast<U>(a)) * static_cast<U>(b)));
    } else {
      return a * b;
    }
  } else if constexpr (op == ReduceOp::min || op == ReduceOp::max) {
    if constexpr (std::is_floating_point_v<A>) {
      if (a != a) return a;
      if (b != b) return b;
      if (a == b) return (std::signbit(a) == (op == ReduceOp::min)) ? a : b;  // −0 < +0
    }
    return (op == ReduceOp::min ? a < b : b < a) ? a : b;
  } else if constexpr (std::is_integral_v<A>) {
    if constexpr (op == ReduceOp::bit_and) return static_cast<A>(a & b);
    if constexpr (op == ReduceOp::bit_or) return static_cast<A>(a | b);
    if constexpr (op == ReduceOp::bit_xor) return static_cast<A>(a ^ b);
  }
  assert(false && "check_reducible() refuses this");
  return a;
}

template <class T, class A>
void store(const A* values, std::int64_t count, double scale, T* output) {
  if constexpr (std::is_floating_point_v<A>) {
    const A factor = static_cast<A>(scale);
    for (std::int64_t i = 0; i < count; ++i) {
      const A value = values[i] * factor;
      output[i] = static_cast<T>(value == value ? value : std::numeric_limits<A>::quiet_NaN());
    }
  } else {
    std::copy_n(values, count, output);
  }
}

template <class T, ReduceOp op>
void reduce(const SliceInputs& inputs, std::span<const int> combines, std::int64_t elements, double scale, T* output) {
  using A = Accumulator<T>;
  int depth_needed = 0;
  for (std::size_t i = 0, depth = 0; i < combines.size(); ++i) {
    depth += 1 - static_cast<std::size_t>(combines[i]);
    depth_needed = std::max(depth_needed, static_cast<int>(depth));
  }
  std::vector<std::array<A, kChunk>> stack(static_cast<std::size_t>(depth_needed));
  for (std::int64_t begin = 0; begin < elements; begin += kChunk) {
    const std::int64_t count = std::min(kChunk, elements - begin);
    int depth = 0;
    for (std::size_t i = 0; i < combines.size(); ++i) {
      const T* input = reinterpret_cast<const T*>(inputs.partials[i].data) + begin;
      int pending = combines[i];
      if (pending == 0) {
        std::transform(input, input + count, stack[depth++].begin(), [](T value) { return static_cast<A>(value); });
        continue;
      }
      A* left = stack[depth - 1].data();  // adding the input at once saves copying it onto the stack
      for (std::int64_t j = 0; j < count; ++j) left[j] = combine<op>(left[j], static_cast<A>(input[j]));
      while (--pending > 0) {
        A* into = stack[depth - 2].data();
        const A* from = stack[depth - 1].data();
        for (std::int64_t j = 0; j < count; ++j) into[j] = combine<op>(into[j], from[j]);
        --depth;
      }
    }
    store(stack[0].data(), count, scale, output + begin);
  }
}

template <class T>
void dispatch_op(const SliceInputs& inputs, std::span<const int> combines, std::int64_t elements, ReduceOp op,
                 double scale, std::byte* output) {
  T* const typed = reinterpret_cast<T*>(output);
  switch (op) {
    case ReduceOp::sum:
    case ReduceOp::avg:
      return reduce<T, ReduceOp::sum>(inputs, combines, elements, scale, typed);
    case ReduceOp::min:
      return reduce<T, ReduceOp::min>(inputs, combines, elements, scale, typed);
    case ReduceOp::max:
      return reduce<T, ReduceOp::max>(inputs, combines, elements, scale, typed);
    case ReduceOp::prod:
      return reduce<T, ReduceOp::prod>(inputs, combines, elements, scale, typed);
    case ReduceOp::bit_and:
      return reduce<T, ReduceOp::bit_and>(inputs, combines, elements, scale, typed);
    case ReduceOp::bit_or:
      return reduce<T, ReduceOp::bit_or>(inputs, combines, elements, scale, typed);
    case ReduceOp::bit_xor:
      return reduce<T, ReduceOp::bit_xor>(inputs, combines, elements, scale, typed);
  }
}

}  // namespace

std::vector<int> combines_after(std::span<const Partial> partials, std::int64_t leaves) {
  std::vector<int> combines;
  std::vector<Range> stack;
  for (const Partial& partial : partials) {
    stack.push_back(partial.range());
    int count = 0;
    while (stack.size() > 1 && is_subtree({stack[stack.size() - 2].first, stack.back().last}, leaves)) {
      stack[stack.size() - 2].last = stack.back().last;
      stack.pop_back();
      ++count;
    }
    combines.push_back(count);
  }
  assert(stack.size() == 1 && stack.front() == (Range{0, leaves}));
  return combines;
}

void reduce_slice(const SliceInputs& inputs, std::int64_t elements, DType dtype, ReduceOp op, double scale,
                  std::byte* output) {
  const std::vector<int> combines = combines_after(inputs.partials, inputs.leaves);
  switch (dtype) {
    case DType::float64:
      return dispatch_op<double>(inputs, combines, elements, op, scale, output);
    case DType::float32:
      return dispatch_op<float>(inputs, combines, elements, op, scale, output);
    case DType::float16:
      return dispatch_op<c10::Half>(inputs, combines, elements, op, scale, output);
    case DType::bfloat16:
      return dispatch_op<c10::BFloat16>(inputs, combines, elements, op, scale, output);
    case DType::int64:
      return dispatch_op<std::int64_t>(inputs, combines, elements, op, scale, output);
    case DType::int32:
      return dispatch_op<std::int32_t>(inputs, combines, elements, op, scale, output);
    case DType::int16:
      return dispatch_op<std::int16_t>(inputs, combines, elements, op, scale, output);
    case DType::int8:
      return dispatch_op<std::int8_t>(inputs, combines, elements, op, scale, output);
    case DType::uint8:
    case DType::boolean:
      return dispatch_op<std::uint8_t>(inputs, combines, elements, op, scale, output);
  }
}

}  // namespace lockstep::comm
