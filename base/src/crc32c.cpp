// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/crc32c.hpp"

#include <immintrin.h>

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

// For each 128 bits of `crc`, what they become when `bytes` more bytes follow: the low 64 bits stand for 64 powers more
// than the high ones. The 33: see shifted().
template <int bytes>
__attribute__((target("avx512f,vpclmulqdq"))) __m512i folded(__m512i crc) noexcept {
  constexpr auto kLow = static_cast<std::int64_t>(x_to(8 * bytes + 64 - 33));
  constexpr auto kHigh = static_cast<std::int64_t>(x_to(8 * bytes - 33));
  const __m512i factors = _mm512_set4_epi64(kHigh, kLow, kHigh, kLow);
  return _mm512_xor_si512(_mm512_clmulepi64_epi128(crc, factors, 0x00), _mm512_clmulepi64_epi128(crc, factors, 0x11));
}

constexpr std::size_t kVector = 64;            // bytes
constexpr std::size_t kVectors = 4 * kVector;  // four folds are on their way at a time
constexpr std::size_t kManyVectors = 4096;     // bytes; three streams are as fast or faster on less

// 64 bytes at a time, folded onto those that follow; what is left of them at the end has the message's checksum (the
// same paper's sequel: "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel, 2009).
__attribute__((target("avx512f,vpclmulqdq,sse4.2,pclmul"))) std::uint32_t crc32c_avx512(
    std::span<const std::byte> bytes, std::uint32_t previous) noexcept {
  if (bytes.size() < kManyVectors) return crc32c_sse42(bytes, previous);
  const auto load = [&](std::size_t vector) __attribute__((target("avx512f"))) {
    return _mm512_loadu_si512(bytes.data() + vector * kVector);
  };
  __m512i a = _mm512_xor_si512(load(0), _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(~previous))));
  __m512i b = load(1);
  __m512i c = load(2);
  __m512i d = load(3);
  for (bytes = bytes.subspan(kVectors); bytes.size() >= kVectors; bytes = bytes.subspan(kVectors)) {
    a = _mm512_xor_si512(folded<kVectors>(a), load(0));
    b = _mm512_xor_si512(folded<kVectors>(b), load(1));
    c = _mm512_xor_si512(folded<kVectors>(c), load(2));
    d = _mm512_xor_si512(folded<kVectors>(d), load(3));
  }
  b = _mm512_xor_si512(b, folded<kVector>(a));
  c = _mm512_xor_si512(c, folded<kVector>(b));
  d = _mm512_xor_si512(d, folded<kVector>(c));
  for (; bytes.size() >= kVector; bytes = bytes.subspan(kVector)) d = _mm512_xor_si512(folded<kVector>(d), load(0));
  std::array<std::byte, kVector> last{};
  _mm512_storeu_si512(last.data(), d);
  return crc32c_sse42(bytes, crc32c_sse42(last, ~0U));  // ~0: nothing came before what was folded into `last`
}

}  // namespace

std::uint32_t crc32c_reference(std::span<const std::byte> bytes, std::uint32_t previous) noexcept {
  std::uint32_t crc = ~previous;
  for (const auto byte : bytes) crc = (crc >> 8) ^ kTable[(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xFFU];
  return ~crc;
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t previous) noexcept {
  static const auto best = [] {
    if (__builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("vpclmulqdq") != 0) return crc32c_avx512;
    const bool sse42 = __builtin_cpu_supports("sse4.2") != 0 && __builtin_cpu_supports("pclmul") != 0;
    return sse42 ? crc32c_sse42 : crc32c_reference;
  }();
  return best(bytes, previous);
}

std::uint32_t crc32c_joined(std::uint32_t first, std::uint32_t second, std::uint64_t second_bytes) noexcept {
  for (std::size_t i = 0; second_bytes != 0; ++i, second_bytes >>= 1) {
    if ((second_bytes & 1U) != 0) first = product(first, kShifts[i]);
  }
  return first ^ second;
}

}  // namespace lockstep
