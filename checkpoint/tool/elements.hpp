// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>

#include "lockstep/base/dtype.hpp"
#include "lockstep/checkpoint/reader.hpp"

namespace lockstep::tool {

// Of the elements that are neither NaN nor infinite: the first four. Of none, they are NaN.
struct Statistics {
  double least = std::numeric_limits<double>::quiet_NaN();
  double most = std::numeric_limits<double>::quiet_NaN();
  double mean = std::numeric_limits<double>::quiet_NaN();
  double deviation = std::numeric_limits<double>::quiet_NaN();
  std::int64_t zeros = 0;
  std::int64_t not_finite = 0;
};

// Both read in pieces: a tensor may be larger than the memory.
[[nodiscard]] Statistics statistics_of(const Checkpoint& checkpoint, const StoredTensor& tensor);

struct Difference {
  std::int64_t elements = 0;  // whose bits differ
  double largest = 0.0;       // of the absolute differences; NaN if one side is NaN
};

// Of two tensors of one shape and dtype.
[[nodiscard]] Difference difference_of(const Checkpoint& left, const Checkpoint& right, const StoredTensor& tensor);

}  // namespace lockstep::tool
