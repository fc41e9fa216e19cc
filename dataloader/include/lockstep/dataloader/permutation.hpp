// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

namespace lockstep {

// A bijection of 0 … size−1 that depends only on (size, seed, stream): the order of an epoch (stream = epoch) without a
// list of it. A balanced Feistel network with 6 rounds over the smallest even number of bits that holds `size`, with
// cycle walking for values past the end (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002).
// O(1) memory and time per index; its bits are part of the promise (docs/determinism.md).
class Permutation {
 public:
  Permutation(std::uint64_t size, std::uint64_t seed, std::uint64_t stream) noexcept;
  [[nodiscard]] std::uint64_t operator()(std::uint64_t position) const noexcept;  // position < size
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

 private:
  static constexpr int kRounds = 6;
  std::uint64_t size_;
  int half_bits_;
  std::array<std::uint64_t, kRounds> keys_{};
};

}  // namespace lockstep
