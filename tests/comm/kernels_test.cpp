// SPDX-License-Identifier: Apache-2.0
#include "kernels.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "lockstep/base/dtype.hpp"

namespace lockstep::comm {
namespace {

constexpr std::int64_t kElements = 5003;

// Random bits hold every kind of value: denormals, infinities, NaNs with payloads, both zeros.
std::vector<std::byte> random_bits(std::size_t bytes, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<std::byte> memory(bytes);
  for (std::byte& byte : memory) byte = static_cast<std::byte>(generator());
  return memory;
}

std::vector<std::byte> reduce_with(const KernelTable& table, DType dtype, ReduceOp op, int inputs, double scale) {
  const std::size_t bytes = static_cast<std::size_t>(kElements) * size_of(dtype);
  std::vector<std::vector<std::byte>> memory;
  std::vector<const std::byte*> pointers;
  std::vector<Partial> partials;
  for (int i = 0; i < inputs; ++i) {
    memory.push_back(random_bits(bytes, static_cast<unsigned>(i)));
    partials.push_back({.first_leaf = i, .leaves = 1});
  }
  for (const auto& one : memory) pointers.push_back(one.data());
  const std::vector<int> combines = combines_after(partials, inputs);
  std::vector<std::byte> output(bytes);
  table.reduce[static_cast<int>(dtype)][static_cast<int>(op)](pointers.data(), combines.data(), inputs, kElements,
                                                              scale, output.data(), nullptr, 0);
  return output;
}

TEST(Kernels, give_the_bits_of_the_scalar_code_with_every_instruction_set) {
  const auto tables = available_kernels();
  for (const DType dtype : {DType::float64, DType::float32, DType::float16, DType::bfloat16, DType::int64, DType::int32,
                            DType::int16, DType::int8, DType::uint8, DType::boolean}) {
    for (int op = 0; op < 8; ++op) {
      if (tables.front()->reduce[static_cast<int>(dtype)][op] == nullptr) continue;
      for (const int inputs : {1, 2, 3, 5}) {
        const auto expected = reduce_with(*tables.front(), dtype, static_cast<ReduceOp>(op), inputs, 0.25);
        for (const KernelTable* table : tables) {
          EXPECT_EQ(reduce_with(*table, dtype, static_cast<ReduceOp>(op), inputs, 0.25), expected)
              << table->name << " " << name_of(static_cast<ReduceOp>(op)) << " of " << inputs << " × "
              << name_of(dtype);
        }
      }
    }
  }
}

float one_float16(std::uint16_t bits) {
  float out = 0;
  const std::uint32_t exponent = (bits >> 10) & 31U;
  const std::uint32_t mantissa = bits & 1023U;
  out = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                      : std::ldexp(static_cast<float>(mantissa + 1024U), static_cast<int>(exponent) - 25);
  if (exponent == 31) out = mantissa == 0 ? std::numeric_limits<float>::infinity() : std::nanf("");
  return (bits & 0x8000U) != 0 ? -out : out;
}

// Every float16 summed with every power of two: widening, rounding to nearest even, overflow and denormals.
TEST(Kernels, round_float16_sums_to_nearest_even) {
  std::vector<std::uint16_t> all(65536);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
  for (const std::uint16_t addend : {0x0001, 0x0400, 0x1400, 0x3c00, 0x7800, 0xbc00}) {
    const std::vector<std::uint16_t> other(all.size(), addend);
    std::vector<std::uint16_t> sums(all.size());
    const std::byte* const inputs[] = {reinterpret_cast<const std::byte*>(all.data()),
                                       reinterpret_cast<const std::byte*>(other.data())};
    const int combines[] = {0, 1};
    reduce_slice(inputs, combines, static_cast<std::int64_t>(all.size()), DType::float16, ReduceOp::sum, 1.0,
                 reinterpret_cast<std::byte*>(sums.data()));
    for (std::size_t i = 0; i < all.size(); ++i) {
      const float exact = one_float16(all[i]) + one_float16(addend);
      const float got = one_float16(sums[i]);
      if (std::isnan(exact)) {
        EXPECT_EQ(sums[i] & 0x7fffU, 0x7e00U);
        continue;
      }
      if (std::isinf(got)) {
        EXPECT_GE(std::abs(exact), 65520.0F);
        continue;
      }
      // No other float16 is nearer, and of two equally near the even one is taken.
      const float below = one_float16(static_cast<std::uint16_t>(sums[i] - ((sums[i] & 0x7fffU) != 0 ? 1 : 0)));
      const float above = one_float16(static_cast<std::uint16_t>(sums[i] + 1));
      const float error = std::abs(got - exact);
      ASSERT_LE(error, std::abs(below - exact)) << i << " + " << addend;
      ASSERT_TRUE(std::isinf(above) || error <= std::abs(above - exact)) << i << " + " << addend;
      const bool tie = got != exact && (error == std::abs(below - exact) || error == std::abs(above - exact));
      ASSERT_TRUE(!tie || got == below || sums[i] % 2 == 0) << i << " + " << addend;
    }
  }
}

}  // namespace
}  // namespace lockstep::comm
