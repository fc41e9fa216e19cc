// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "lockstep/base/mix.hpp"

namespace lockstep {

// What the random generators are seeded with: before training, and at micro-batch k of a step (k = M: outside the
// micro-batches). The same on every rank, because a micro-batch belongs to the step and not to the rank that runs it.
[[nodiscard]] constexpr std::uint64_t run_seed(std::int64_t seed) noexcept {
  return mix_bits(static_cast<std::uint64_t>(seed) + kGoldenGamma);
}
[[nodiscard]] constexpr std::uint64_t micro_batch_seed(std::int64_t seed, std::int64_t step, int k) noexcept {
  const std::uint64_t of_step = mix_bits((run_seed(seed) ^ static_cast<std::uint64_t>(step)) + kGoldenGamma);
  return mix_bits((of_step ^ static_cast<std::uint64_t>(k)) + kGoldenGamma);
}

}  // namespace lockstep
