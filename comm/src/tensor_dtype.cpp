// SPDX-License-Identifier: Apache-2.0
#include "lockstep/comm/tensor_dtype.hpp"

#include <fmt/format.h>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

struct Pair {
  at::ScalarType torch;
  DType ours;
};

constexpr Pair kPairs[] = {
    {at::kDouble, DType::float64}, {at::kFloat, DType::float32},     {at::kHalf, DType::float16},
    {at::kLong, DType::int64},     {at::kBFloat16, DType::bfloat16}, {at::kInt, DType::int32},
    {at::kShort, DType::int16},    {at::kChar, DType::int8},         {at::kByte, DType::uint8},
    {at::kBool, DType::boolean},
};

}  // namespace

DType dtype_of(at::ScalarType type) {
  for (const Pair& pair : kPairs) {
    if (pair.torch == type) return pair.ours;
  }
  throw UsageError({.what = fmt::format("a tensor of dtype {}", c10::toString(type)),
                    .why = "lockstep does not move this dtype",
                    .fix = "convert it first"});
}

at::ScalarType scalar_type_of(DType dtype) noexcept {
  for (const Pair& pair : kPairs) {
    if (pair.ours == dtype) return pair.torch;
  }
  return at::ScalarType::Undefined;
}

}  // namespace lockstep
