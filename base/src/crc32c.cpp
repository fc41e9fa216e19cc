// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/crc32c.hpp"

#include <nmmintrin.h>
#include <wmmintrin.h>

#include <array>
#include <cstring>

namespace lockstep {
namespace {

constexpr std::uint32_t kPolynomial = 0x82F63B78;  // Castagnoli, bits reflected

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? kPolynomial : 0U);
    table[byte] = crc;
  }
  return table;
}

constexpr auto kTable = make_table();

// x^power mod the polynomial, bits reflected: x⁰ is the highest bit.
constexpr std::uint32_t x_to(int power) {
  std::uint32_t value = 0x80000000U;
  for (int i = 0; i < power; ++i) value = (value >> 1) ^ ((value & 1U) != 0 ? kPolynomial : 0U);
  return value;
}

// The product of two polynomials mod ours.
constexpr std::uint32_t product(std::uint32_t a, std::uint32_t b) {
  std::uint32_t sum = 0;
  for (std::uint32_t bit = 0x80000000U; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) sum ^= b;
    b = (b >> 1) ^ ((b & 1U) != 0 ? kPolynomial : 0U);
  }
  return sum;
}

// x^(8 · 2^i), by which a checksum is multiplied when 2^i bytes follow.
constexpr auto kShifts = [] {
  std::array<std::uint32_t, 64> shifts{x_to(8)};
  for (std::size_t i = 1; i < shifts.size(); ++i) shifts[i] = product(shifts[i - 1], shifts[i - 1]);
  return shifts;
}();

constexpr std::size_t kStream = 128;  // bytes

// What a checksum becomes when `streams` more streams of zeros follow. The 33: a product of reflected numbers is off by
// one bit, and the crc32 instruction multiplies by x³² itself.
template <int streams>
__attribute__((target("sse4.2,pclmul"))) std::uint64_t shifted(std::uint64_t crc) noexcept {
  constexpr auto kFactor = static_cast<std::int64_t>(x_to(8 * streams * static_cast<int>(kStream) - 33));
  const __m128i product =
      _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<std::int64_t>(crc)), _mm_cvtsi64_si128(kFactor), 0);
  return _mm_crc32_u64(0, static_cast<std::uint64_t>(_mm_cvtsi128_si64(product)));
}

__attribute__((target("sse4.2"))) std::uint64_t add_word(std::uint64_t crc, const std::byte* from) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, from, sizeof(word));
  return _mm_crc32_u64(crc, word);
}

// Three streams at a time, because the instruction takes three cycles and a new one can start in each (V. Gopal et al.,
// "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel, 2011).
__attribute__((target("sse4.2,pclmul"))) std::uint32_t crc32c_sse42(std::span<const std::byte> bytes,
                                                                    std::uint32_t previous) noexcept {
  std::uint64_t crc = ~previous;
  for (; bytes.size() >= 3 * kStream; bytes = bytes.subspan(3 * kStream)) {
    std::uint64_t second = 0;
    std::uint64_t third = 0;
    for (std::size_t i = 0; i < kStream; i += sizeof(std::uint64_t)) {
      crc = add_word(crc, bytes.data() + i);
      second = add_word(second, bytes.data() + kStream + i);
      third = add_word(third, bytes.data() + 2 * kStream + i);
    }
    crc = shifted<2>(crc) ^ shifted<1>(second) ^ third;
  }
  for (; bytes.size() >= sizeof(std::uint64_t); bytes = bytes.subspan(sizeof(std::uint64_t))) {
    crc = add_word(crc, bytes.data());
  }
  auto crc_low = static_cast<std::uint32_t>(crc);
  for (const auto byte : bytes) crc_low = _mm_crc32_u8(crc_low, std::to_integer<std::uint8_t>(byte));
  return ~crc_low;
}

}  // namespace

std::uint32_t crc32c_reference(std::span<const std::byte> bytes, std::uint32_t previous) noexcept {
  std::uint32_t crc = ~previous;
  for (const auto byte : bytes) crc = (crc >> 8) ^ kTable[(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xFFU];
  return ~crc;
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t previous) noexcept {
  static const bool has_sse42 = __builtin_cpu_supports("sse4.2") != 0 && __builtin_cpu_supports("pclmul") != 0;
  return has_sse42 ? crc32c_sse42(bytes, previous) : crc32c_reference(bytes, previous);
}

std::uint32_t crc32c_joined(std::uint32_t first, std::uint32_t second, std::uint64_t second_bytes) noexcept {
  for (std::size_t i = 0; second_bytes != 0; ++i, second_bytes >>= 1) {
    if ((second_bytes & 1U) != 0) first = product(first, kShifts[i]);
  }
  return first ^ second;
}

}  // namespace lockstep
