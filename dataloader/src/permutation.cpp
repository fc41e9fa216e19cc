// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/permutation.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>

namespace lockstep {
namespace {

// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): the increment, and the finaliser with Stafford's constants.
constexpr std::uint64_t kGoldenGamma = 0x9E3779B97F4A7C15U;

constexpr std::uint64_t mix(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30U)) * 0xBF58476D1CE4E5B9U;
  value = (value ^ (value >> 27U)) * 0x94D049BB133111EBU;
  return value ^ (value >> 31U);
}

}  // namespace

Permutation::Permutation(std::uint64_t size, std::uint64_t seed, std::uint64_t stream) noexcept
    : size_(size), half_bits_(std::max(1, (static_cast<int>(std::bit_width(size - 1)) + 1) / 2)) {
  assert(size > 0);
  // The seed is mixed before the stream joins it: were they added, (seed 1, epoch 0) would repeat (seed 0, epoch 1).
  std::uint64_t state = mix(mix(seed + kGoldenGamma) + stream);
  for (auto& key : keys_) {
    state += kGoldenGamma;
    key = mix(state);
  }
}

std::uint64_t Permutation::operator()(std::uint64_t position) const noexcept {
  assert(position < size_);
  const std::uint64_t mask = (std::uint64_t{1} << static_cast<unsigned>(half_bits_)) - 1;
  std::uint64_t value = position;
  do {  // the network's domain is less than 4 · size, so that this takes fewer than 4 turns on average
    std::uint64_t left = value >> static_cast<unsigned>(half_bits_);
    std::uint64_t right = value & mask;
    for (const auto key : keys_) {
      left = std::exchange(right, left ^ (mix(right ^ key) & mask));
    }
    value = (left << static_cast<unsigned>(half_bits_)) | right;
  } while (value >= size_);
  return value;
}

}  // namespace lockstep
