// SPDX-License-Identifier: Apache-2.0
#include "bucket_plan.hpp"

#include <algorithm>

namespace lockstep {

std::vector<BucketLayout> plan_buckets(std::span<const ParameterShape> parameters, std::int64_t bucket_bytes) {
  std::vector<BucketLayout> buckets;
  bool open = false;
  for (auto index = static_cast<std::int64_t>(parameters.size()) - 1; index >= 0; --index) {
    const ParameterShape& parameter = parameters[static_cast<std::size_t>(index)];
    if (!open || buckets.back().dtype != parameter.bucket_dtype) {
      buckets.push_back({.dtype = parameter.bucket_dtype, .parameters = {}, .offsets = {}});
      open = true;
    }
    BucketLayout& bucket = buckets.back();
    const auto element_bytes = static_cast<std::int64_t>(size_of(bucket.dtype));
    const std::int64_t aligned = kViewAlignment / element_bytes;
    bucket.parameters.push_back(static_cast<int>(index));
    bucket.offsets.push_back(bucket.elements);
    bucket.elements += (parameter.elements + aligned - 1) / aligned * aligned;
    const std::int64_t cap = buckets.size() == 1 ? std::min(bucket_bytes, kFirstBucketBytes) : bucket_bytes;
    open = bucket.elements * element_bytes < cap;
  }
  return buckets;
}

}  // namespace lockstep
