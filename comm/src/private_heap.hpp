// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <vector>

namespace lockstep::comm {

// What allocate() means on a backend that reaches its peers' memory by messages, or reaches all memory anyway:
// ordinary, aligned, zeroed memory.
class PrivateHeap {
 public:
  [[nodiscard]] std::span<std::byte> allocate(std::size_t bytes) {
    auto* const memory = static_cast<std::byte*>(::operator new(bytes, kAlignment));
    blocks_.emplace_back(memory);
    std::memset(memory, 0, bytes);
    return {memory, bytes};
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(std::byte* memory) const { ::operator delete(memory, kAlignment); }
  };
  std::vector<std::unique_ptr<std::byte, Free>> blocks_;
};

}  // namespace lockstep::comm
