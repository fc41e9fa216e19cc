// SPDX-License-Identifier: Apache-2.0
#include "lockstep/comm/reduce_op.hpp"

#include <fmt/format.h>

#include "lockstep/base/error.hpp"

namespace lockstep {

std::string_view name_of(ReduceOp op) noexcept {
  switch (op) {
    case ReduceOp::sum:
      return "sum";
    case ReduceOp::avg:
      return "avg";
    case ReduceOp::min:
      return "min";
    case ReduceOp::max:
      return "max";
    case ReduceOp::prod:
      return "prod";
    case ReduceOp::bit_and:
      return "bit_and";
    case ReduceOp::bit_or:
      return "bit_or";
    case ReduceOp::bit_xor:
      return "bit_xor";
  }
  return "?";
}

void check_reducible(ReduceOp op, DType dtype) {
  const bool bitwise = op == ReduceOp::bit_and || op == ReduceOp::bit_or || op == ReduceOp::bit_xor;
  const bool arithmetic = op == ReduceOp::sum || op == ReduceOp::prod || op == ReduceOp::avg;
  const auto refuse = [&](std::string why, std::string fix) {
    throw UsageError({.what = fmt::format("reduction {} of {}", name_of(op), name_of(dtype)),
                      .why = std::move(why),
                      .fix = std::move(fix)});
  };
  if (bitwise && is_floating(dtype)) refuse("bitwise operations have no meaning on floats", "use an integer dtype");
  if (arithmetic && dtype == DType::boolean) refuse("bool has no arithmetic", "use bit_or, bit_and, min or max");
  if (op == ReduceOp::avg && !is_floating(dtype))
    refuse("an average of integers is not one", "use sum, or a float dtype");
}

}  // namespace lockstep
