// SPDX-License-Identifier: Apache-2.0
#include "pinned_memory.hpp"

#include <algorithm>
#include <bit>

namespace lockstep::comm::gpu {

PinnedMemory::Block PinnedMemory::take(std::size_t bytes) {
  if (bytes == 0) return {};
  const auto smaller = [](const Block& a, const Block& b) { return a.bytes < b.bytes; };
  std::sort(free_.begin(), free_.end(), smaller);
  const auto fits = std::lower_bound(free_.begin(), free_.end(), Block{.memory = {}, .bytes = bytes}, smaller);
  if (fits != free_.end()) {
    Block block = std::move(*fits);
    free_.erase(fits);
    return block;
  }
  if (!free_.empty()) free_.pop_back();  // the one that has become too small makes room for a larger one
  const std::size_t size = std::bit_ceil(bytes);
  return {.memory = device_.allocate_pinned(size), .bytes = size};
}

}  // namespace lockstep::comm::gpu
