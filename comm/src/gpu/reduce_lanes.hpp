// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>

#include "arithmetic.hpp"
#include "cuda_api.hpp"

// What one thread of the reduce_slices kernel does; reference_reduce_slices() runs it on the host.
namespace lockstep::comm::gpu {

// ReduceSlices as the kernel takes it. The additions come in steps: a step takes the next inputs, at most 8, adds them
// up as T(inputs) in registers, and adds the topmost sums of the stack, each from the left, to the result, which it
// then pushes. Up to 8 ranks of one leaf are one step and need no stack.
struct ReduceArguments {
  const std::byte* first = nullptr;
  std::size_t stride_bytes = 0;
  std::byte* output = nullptr;
  std::int64_t elements = 0;
  std::int64_t vectors = 0;  // of 16 bytes, which are reduced at once; 0 where the arrays are not so aligned
  double scale = 1.0;
  int steps = 0;
  int depth = 0;                     // of a thread's stack
  int entry_bytes = 0;               // of one of its sums
  std::uint8_t step[kMostInputs]{};  // inputs − 1, and 8 · additions from the stack
};

inline constexpr int kStepInputs = 8;
template <class T>
inline constexpr int kVectorLanes = static_cast<int>(16 / sizeof(T));
template <class T>
inline constexpr int kMostEntryBytes = kVectorLanes<T>* static_cast<int>(sizeof(Accumulator<T>));

// The most inputs at the front of `combines` that T(inputs) adds up before anything older.
inline int step_inputs(std::span<const int> combines) {
  const auto leaves = [&](int inputs) {
    for (int i = 0; i + 1 < inputs; ++i)
      if (combines[static_cast<std::size_t>(i)] != std::countr_one(static_cast<unsigned>(i))) return false;
    return combines[static_cast<std::size_t>(inputs - 1)] >= std::popcount(static_cast<unsigned>(inputs - 1));
  };
  int inputs = static_cast<int>(std::min(combines.size(), std::size_t{kStepInputs}));
  while (!leaves(inputs)) --inputs;
  return inputs;
}

// `stack_bytes`: what a thread may use; where vectors do not fit, single elements do.
template <class T>
[[nodiscard]] ReduceArguments reduce_arguments(const ReduceSlices& call, std::size_t stack_bytes) {
  ReduceArguments arguments{.first = call.first,
                            .stride_bytes = call.stride_bytes,
                            .output = call.output,
                            .elements = call.elements,
                            .scale = call.scale};
  int depth = 0;
  for (std::span<const int> rest = call.combines; !rest.empty();) {
    const int inputs = step_inputs(rest);
    const int additions = rest[static_cast<std::size_t>(inputs - 1)] - std::popcount(static_cast<unsigned>(inputs - 1));
    arguments.step[arguments.steps++] = static_cast<std::uint8_t>(inputs - 1 + kStepInputs * additions);
    arguments.depth = std::max(arguments.depth, depth);
    depth += 1 - additions;
    rest = rest.subspan(static_cast<std::size_t>(inputs));
  }
  const auto places = reinterpret_cast<std::uintptr_t>(call.first) | reinterpret_cast<std::uintptr_t>(call.output) |
                      (call.combines.size() > 1 ? call.stride_bytes : 0);
  arguments.entry_bytes = sizeof(Accumulator<T>);
  if (places % 16 == 0 && static_cast<std::size_t>(arguments.depth * kMostEntryBytes<T>) <= stack_bytes) {
    arguments.vectors = call.elements / kVectorLanes<T>;
    arguments.entry_bytes = kMostEntryBytes<T>;
  }
  return arguments;
}

// T(inputs) over `taken`, of which those from `inputs` on are absent.
template <class T, ReduceOp op, int first, int size, class Sum, class Taken>
LOCKSTEP_HOST_DEVICE inline Sum tree_sum(const Taken* taken, int inputs) {
  constexpr int kLanes = static_cast<int>(sizeof(Taken) / sizeof(T));
  if constexpr (size == 1) {
    Sum sum{};
    for (int i = 0; i < kLanes; ++i) sum.lane[i] = widened(taken[first].lane[i]);
    return sum;
  } else {
    Sum sum = tree_sum<T, op, first, size / 2, Sum>(taken, inputs);
    if (first + size / 2 < inputs) {
      const Sum right = tree_sum<T, op, first + size / 2, size / 2, Sum>(taken, inputs);
      for (int i = 0; i < kLanes; ++i) sum.lane[i] = combine<op>(sum.lane[i], right.lane[i]);
    }
    return sum;
  }
}

// `lanes` neighbouring elements from `byte` on in each array. `stack`: this thread's, its entries `stack_stride` bytes
// apart.
template <class T, ReduceOp op, int lanes>
LOCKSTEP_HOST_DEVICE inline void reduce_lanes(const ReduceArguments& arguments, std::int64_t byte, std::byte* stack,
                                              int stack_stride) {
  using A = Accumulator<T>;
  constexpr bool kVector = lanes == kVectorLanes<T>;
  using Taken = Lanes<T, lanes, kVector ? 16 : alignof(T)>;
  using Sum = Lanes<A, lanes, kVector ? 16 : alignof(A)>;
  const std::byte* input = arguments.first + byte;
  Sum sum{};
  for (int step = 0; step < arguments.steps; ++step) {
    if (step > 0) {
      *reinterpret_cast<Sum*>(stack) = sum;
      stack += stack_stride;
    }
    const int inputs = arguments.step[step] % kStepInputs + 1;
    Taken taken[kStepInputs]{};
    for (int i = 0; i < kStepInputs; ++i)
      if (i < inputs) taken[i] = *reinterpret_cast<const Taken*>(input + i * arguments.stride_bytes);
    input += inputs * arguments.stride_bytes;
    sum = tree_sum<T, op, 0, kStepInputs, Sum>(taken, inputs);
    for (int additions = arguments.step[step] / kStepInputs; additions > 0; --additions) {
      stack -= stack_stride;
      const Sum left = *reinterpret_cast<const Sum*>(stack);
      for (int i = 0; i < lanes; ++i) sum.lane[i] = combine<op>(left.lane[i], sum.lane[i]);
    }
  }
  Taken result;
  for (int i = 0; i < lanes; ++i) result.lane[i] = finished<T>(sum.lane[i], static_cast<A>(arguments.scale));
  *reinterpret_cast<Taken*>(arguments.output + byte) = result;
}

// The part of `thread`, of `threads`.
template <class T, ReduceOp op>
LOCKSTEP_HOST_DEVICE inline void reduce_part(const ReduceArguments& arguments, std::int64_t thread,
                                             std::int64_t threads, std::byte* stack, int stack_stride) {
  for (std::int64_t i = thread; i < arguments.vectors; i += threads)
    reduce_lanes<T, op, kVectorLanes<T>>(arguments, i * 16, stack, stack_stride);
  for (std::int64_t i = arguments.vectors * kVectorLanes<T> + thread; i < arguments.elements; i += threads)
    reduce_lanes<T, op, 1>(arguments, i * static_cast<std::int64_t>(sizeof(T)), stack, stack_stride);
}

}  // namespace lockstep::comm::gpu
