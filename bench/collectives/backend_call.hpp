// SPDX-License-Identifier: Apache-2.0
// A case straight through a Backend: start, advance, idle. What Communicator adds is measured beside it.
#pragma once

#include "cases.hpp"
#include "lockstep/comm/backend.hpp"

namespace bench {

inline lockstep::DType dtype_of(Format format) {
  return format == Format::f32    ? lockstep::DType::float32
         : format == Format::bf16 ? lockstep::DType::bfloat16
                                  : lockstep::DType::float16;
}

inline lockstep::comm::Call call_of(const Case& of, std::int64_t elements, int ranks) {
  using lockstep::comm::Kind;
  constexpr Kind kKinds[] = {Kind::all_reduce, Kind::reduce_scatter, Kind::all_gather, Kind::broadcast,
                             Kind::all_to_all};  // by Collective
  const Kind kind = kKinds[static_cast<std::size_t>(of.collective)];
  const bool in_parts = kind != Kind::all_reduce && kind != Kind::broadcast;
  return {.kind = kind,
          .dtype = dtype_of(of.format),
          .op = of.average ? lockstep::ReduceOp::avg : lockstep::ReduceOp::sum,
          .order = of.any_order ? lockstep::ReduceOrder::any : lockstep::ReduceOrder::tree,
          .root = kind == Kind::broadcast ? 0 : -1,
          .elements = in_parts ? elements / ranks : elements,
          .leaves = is_reduction(kind) ? ranks : 0,
          .scale = of.average ? 1.0 / ranks : 1.0};
}

inline void call_backend(lockstep::comm::Backend& backend, const Case& of, const Buffers& buffers) {
  const auto* const input = static_cast<const std::byte*>(buffers.input);
  const lockstep::Partial leaf{.first_leaf = backend.rank(), .leaves = 1, .data = input};
  lockstep::comm::Request request{.call = call_of(of, buffers.elements, backend.world_size()),
                                  .input = input,
                                  .output = static_cast<std::byte*>(buffers.output)};
  if (is_reduction(request.call.kind)) request.partials = {&leaf, 1};
  const lockstep::comm::OperationPtr operation = backend.start(request);
  const auto no_end = std::chrono::steady_clock::time_point::max();
  for (std::int64_t polls = 0; operation->advance(no_end) != lockstep::comm::Advanced::fully; ++polls) {
    if (polls > 1000) backend.idle(std::chrono::nanoseconds(polls * 10));
  }
}

}  // namespace bench
