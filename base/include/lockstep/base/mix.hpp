// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace lockstep {

// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): the increment, and the finaliser with Stafford's constants, which
// sends neighbouring values far apart. Orders and seeds are made of it, so that its bits are part of the promise.
inline constexpr std::uint64_t kGoldenGamma = 0x9e3779b97f4a7c15U;

[[nodiscard]] constexpr std::uint64_t mix_bits(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27U)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31U);
}

}  // namespace lockstep
