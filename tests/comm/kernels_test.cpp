// SPDX-License-Identifier: Apache-2.0
#include "kernels.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>

#include "comm/oracle.hpp"
#include "lockstep/base/dtype.hpp"

namespace lockstep::comm {
namespace {

using lockstep::testing::Bytes;

// Calls one instruction set's code on `inputs`, each at a place of its own in a cache line.
class KernelCall {
 public:
  KernelCall(DType dtype, ReduceOp op, const std::vector<Bytes>& inputs)
      : dtype_(dtype), op_(op), scale_(is_floating(dtype) ? 0.3 : 1.0), inputs_(inputs) {
    expected_ = lockstep::testing::reduce_by_oracle(dtype, op, scale_, inputs);
    std::vector<Partial> partials;
    for (std::size_t i = 0; i < inputs.size(); ++i)
      partials.push_back({.first_leaf = static_cast<std::int64_t>(i), .leaves = 1});
    combines_ = combines_after(partials, static_cast<std::int64_t>(inputs.size()));
    memory_.resize(inputs.size() * stride());
    output_.resize(stride());
  }

  // Everything begins `bytes` behind a 64-byte boundary; the output, and every second input, as far before the next.
  void misalign(std::size_t bytes) {
    pointers_.clear();
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      std::byte* const at = aligned(memory_.data() + i * stride()) + (i % 2 == 0 ? bytes : 64 - bytes);
      std::copy(inputs_[i].begin(), inputs_[i].end(), at);
      pointers_.push_back(at);
    }
    at_ = aligned(output_.data()) + 64 - bytes;
  }

  // Whether the first `elements` are the oracle's and what follows them is untouched, in the output and in each copy.
  [[nodiscard]] bool is_right(const KernelTable& table, std::int64_t elements) {
    for (const int copies : {0, 1, 2}) {
      const std::size_t bytes = static_cast<std::size_t>(elements) * size_of(dtype_);
      std::vector<Bytes> memory(static_cast<std::size_t>(copies), Bytes(bytes + 64, std::byte{0xa5}));
      std::vector<std::byte*> places;
      for (Bytes& copy : memory) places.push_back(copy.data());
      std::memset(at_, 0xa5, bytes + 64);
      table.reduce[static_cast<int>(dtype_)][static_cast<int>(op_)](pointers_.data(), combines_.data(),
                                                                    static_cast<int>(pointers_.size()), elements,
                                                                    scale_, at_, places.data(), copies);
      places.push_back(at_);
      for (const std::byte* const place : places) {
        const auto untouched = [](std::byte byte) { return byte == std::byte{0xa5}; };
        const bool right = std::equal(place, place + bytes, expected_.begin()) &&
                           std::all_of(place + bytes, place + bytes + 64, untouched);
        if (!right) return false;
      }
    }
    return true;
  }

 private:
  [[nodiscard]] std::size_t stride() const { return expected_.size() + 256; }
  [[nodiscard]] static std::byte* aligned(std::byte* memory) {
    return memory + (64 - reinterpret_cast<std::uintptr_t>(memory) % 64);
  }

  DType dtype_;
  ReduceOp op_;
  double scale_;
  const std::vector<Bytes>& inputs_;
  Bytes expected_;
  std::vector<int> combines_;
  Bytes memory_;
  Bytes output_;
  std::vector<const std::byte*> pointers_;
  std::byte* at_ = nullptr;
};

// `check(call, dtype)` for each (dtype, op) that has a meaning, with so many inputs of `elements` values.
template <class Check>
void for_every_kernel(std::initializer_list<int> inputs_counts, std::int64_t elements, const Check& check) {
  for (const DType dtype : lockstep::testing::kDTypes) {
    for (const ReduceOp op : lockstep::testing::kOps) {
      if (!lockstep::testing::has_meaning(dtype, op)) continue;
      for (const int count : inputs_counts) {
        std::vector<Bytes> inputs;
        for (int i = 0; i < count; ++i)
          inputs.push_back(lockstep::testing::random_values(dtype, elements, static_cast<std::uint64_t>(i)));
        SCOPED_TRACE(std::to_string(count) + " × " + std::string(name_of(dtype)) + ", " + std::string(name_of(op)));
        KernelCall call(dtype, op, inputs);
        check(call, dtype);
      }
    }
  }
}

TEST(Kernels, give_the_bits_of_the_oracle_with_every_instruction_set) {
  for_every_kernel({1, 2, 3, 5, 8}, 5003, [](KernelCall& call, DType) {
    call.misalign(0);
    for (const KernelTable* table : available_kernels()) EXPECT_TRUE(call.is_right(*table, 5003)) << table->name;
  });
}

TEST(Kernels, give_the_bits_of_the_oracle_at_every_length_and_misalignment) {
  constexpr std::int64_t kLongest = 130;
  for_every_kernel({1, 2, 5}, kLongest, [](KernelCall& call, DType dtype) {
    for (std::size_t bytes = 0; bytes < 64; bytes += size_of(dtype)) {
      call.misalign(bytes);
      for (const KernelTable* table : available_kernels()) {
        for (std::int64_t elements = 0; elements <= kLongest; ++elements)
          ASSERT_TRUE(call.is_right(*table, elements)) << table->name << ", " << elements << " at " << bytes;
      }
    }
  });
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
TEST(Kernels, widen_and_narrow_every_16_bit_float_to_itself_with_every_instruction_set) {
  std::vector<std::uint16_t> all(1 << 16);
  std::iota(all.begin(), all.end(), std::uint16_t{0});
  const auto elements = static_cast<std::int64_t>(all.size());
  for (const KernelTable* const table : available_kernels()) {
    for (const std::size_t type : {0U, 1U}) {  // float16, bfloat16
      const std::uint16_t infinity = type == 0 ? 0x7c00 : 0x7f80;
      const std::uint16_t nan = type == 0 ? 0x7e00 : 0x7fc0;
      std::vector<float> wide(all.size());
      std::vector<std::uint16_t> narrow(all.size());
      table->widen[type](reinterpret_cast<const std::byte*>(all.data()), elements, wide.data());
      table->narrow[type](wide.data(), elements, reinterpret_cast<std::byte*>(narrow.data()));
      for (std::size_t i = 0; i < all.size(); ++i) {
        const bool is_nan = (all[i] & 0x7fff) > infinity;
        ASSERT_EQ(narrow[i], is_nan ? nan : all[i]) << table->name << ", type " << type;
      }
    }
  }
}

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
