// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// What devices do to memory, in loops of our own: ThreadSanitizer with ignore_noninstrumented_modules=1 (g++ 12 on
// Linux) sees no access of memmove() and memset() themselves.
namespace lockstep::test {

// Like a device's copy: the two do not overlap, or are the same.
inline void copy_bytes(void* to, const void* from, std::size_t bytes) {
  if (to == from) return;
  auto* output = static_cast<std::byte*>(to);
  const auto* input = static_cast<const std::byte*>(from);
  std::size_t i = 0;
  for (std::uint64_t word = 0; i + sizeof word <= bytes; i += sizeof word) {
    std::memcpy(&word, input + i, sizeof word);
    std::memcpy(output + i, &word, sizeof word);
  }
  for (; i < bytes; ++i) output[i] = input[i];
}

inline void zero_bytes(void* memory, std::size_t bytes) {
  auto* output = static_cast<std::byte*>(memory);
  const std::uint64_t zero = 0;
  std::size_t i = 0;
  for (; i + sizeof zero <= bytes; i += sizeof zero) std::memcpy(output + i, &zero, sizeof zero);
  for (; i < bytes; ++i) output[i] = std::byte{0};
}

}  // namespace lockstep::test
