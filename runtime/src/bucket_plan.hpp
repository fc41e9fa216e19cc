// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lockstep/base/dtype.hpp"

namespace lockstep {

inline constexpr std::int64_t kFirstBucketBytes = 1 << 20;  // small, so that the first reduction starts early
inline constexpr std::int64_t kViewAlignment = 64;          // bytes: kernels may change bits with alignment

struct ParameterShape {
  std::int64_t elements = 0;
  DType bucket_dtype = DType::float32;  // float64 for float64 parameters, else float32
};

struct BucketLayout {
  DType dtype = DType::float32;
  std::vector<int> parameters;        // indices, in the order in which their gradients are expected
  std::vector<std::int64_t> offsets;  // of each parameter's view, in elements
  std::int64_t elements = 0;          // all views with their padding
};

// Which gradients are reduced together: parameters in reverse order of registration, because backward reaches the last
// first; a bucket is closed when it holds `bucket_bytes` (the first: at most kFirstBucketBytes) or the dtype changes.
// Pure.
[[nodiscard]] std::vector<BucketLayout> plan_buckets(std::span<const ParameterShape> parameters,
                                                     std::int64_t bucket_bytes);

}  // namespace lockstep
