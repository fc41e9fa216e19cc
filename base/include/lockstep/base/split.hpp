// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace lockstep {

// Half-open range of positions.
struct Range {
  std::int64_t first = 0;
  std::int64_t last = 0;  // one past the end
  [[nodiscard]] constexpr std::int64_t size() const noexcept { return last - first; }
  [[nodiscard]] constexpr bool empty() const noexcept { return first == last; }
  friend constexpr bool operator==(const Range&, const Range&) = default;
};

// Part `index` of `total` things cut into `parts` contiguous parts of nearly equal size: ⌊index·total/parts⌋ and so on.
// It cuts a step's samples into micro-batches and the micro-batches over ranks (docs/determinism.md). Some parts are
// empty when total < parts.
[[nodiscard]] constexpr Range even_split(std::int64_t total, std::int64_t parts, std::int64_t index) noexcept {
  return {index * total / parts, (index + 1) * total / parts};
}

}  // namespace lockstep
