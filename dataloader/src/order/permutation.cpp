// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/permutation.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>

#include "lockstep/base/mix.hpp"

namespace lockstep {
Permutation::Permutation(std::uint64_t size, std::uint64_t seed, std::uint64_t stream) noexcept
    : size_(size), half_bits_(std::max(1, (static_cast<int>(std::bit_width(size - 1)) + 1) / 2)) {
  assert(size > 0);
  // The seed is mixed before the stream joins it: were they added, (seed 1, epoch 0) would repeat (seed 0, epoch 1).
  std::uint64_t state = mix_bits(mix_bits(seed + kGoldenGamma) + stream);
  for (auto& key : keys_) {
    state += kGoldenGamma;
    key = mix_bits(state);
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
      left = std::exchange(right, left ^ (mix_bits(right ^ key) & mask));
    }
    value = (left << static_cast<unsigned>(half_bits_)) | right;
  } while (value >= size_);
  return value;
}

}  // namespace lockstep
