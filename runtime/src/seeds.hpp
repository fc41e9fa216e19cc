// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace lockstep {

// The finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014): neighbouring inputs give unrelated outputs.
[[nodiscard]] constexpr std::uint64_t mix_bits(std::uint64_t x) noexcept {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// What the random generators are seeded with: before training, and at micro-batch k of a step (k = M: outside the
// micro-batches). The same on every rank, because a micro-batch belongs to the step and not to the rank that runs it.
[[nodiscard]] constexpr std::uint64_t run_seed(std::int64_t seed) noexcept {
  return mix_bits(static_cast<std::uint64_t>(seed));
}
[[nodiscard]] constexpr std::uint64_t micro_batch_seed(std::int64_t seed, std::int64_t step, int k) noexcept {
  return mix_bits(mix_bits(run_seed(seed) ^ static_cast<std::uint64_t>(step)) ^ static_cast<std::uint64_t>(k));
}

}  // namespace lockstep
