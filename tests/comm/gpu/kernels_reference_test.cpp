// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "comm/gpu/kernel_cases.hpp"
#include "gpu/reduce_lanes.hpp"
#include "gpu/reference.hpp"
#include "gpu/scaled_lanes.hpp"
#include "kernels.hpp"

namespace lockstep::comm::gpu {
namespace {

using lockstep::testing::Bytes;
using lockstep::testing::CopyCase;
using lockstep::testing::ReduceCase;
using lockstep::testing::UnscaleCase;

// What the host's communicators make of the case.
Bytes reduced_by_host(const ReduceCase& test) {
  Bytes image = test.image();
  const ReduceSlices call = test.call(image.data());
  std::vector<const std::byte*> inputs;
  for (std::size_t i = 0; i < call.combines.size(); ++i) inputs.push_back(call.first + i * call.stride_bytes);
  reduce_slice(inputs, call.combines, call.elements, call.dtype, call.op, call.scale, call.output);
  return image;
}

Bytes reduced_by_reference(const ReduceCase& test) {
  Bytes image = test.image();
  reference_reduce_slices(test.call(image.data()));
  return image;
}

TEST(ReferenceReduceSlices, has_the_bits_of_the_hosts_reduction_in_every_plan) {
  lockstep::testing::for_every_reduction([](const ReduceCase& test, const std::string& name) {
    EXPECT_EQ(reduced_by_reference(test), reduced_by_host(test)) << name << ", behind 16 bytes: " << test.offset_bytes;
  });
}

TEST(ReferenceReduceSlices, has_the_bits_of_the_hosts_reduction_at_every_size_and_alignment) {
  for (const DType dtype : lockstep::testing::kDTypes) {
    for (std::size_t offset = 0; offset < 16; offset += size_of(dtype)) {
      for (std::int64_t elements = 0; elements < 50; ++elements) {
        const ReduceOp op = dtype == DType::boolean ? ReduceOp::bit_xor : ReduceOp::sum;
        const ReduceCase test{dtype, op, {0, 1, 1}, elements, 0, offset};
        ASSERT_EQ(reduced_by_reference(test), reduced_by_host(test))
            << name_of(dtype) << ", " << elements << ", behind 16 bytes: " << offset;
      }
    }
  }
}

// As blocks do: each thread has its part of the elements and of the stack.
TEST(ReferenceReduceSlices, gives_the_same_bits_when_many_threads_share_the_work) {
  constexpr int kThreads = 3;
  const auto ranks = lockstep::testing::plans().back();
  const ReduceCase test{DType::float16, ReduceOp::sum, ranks.combines, 203};
  Bytes image = test.image();
  const ReduceArguments arguments = reduce_arguments<Half>(test.call(image.data()), 1024);
  ASSERT_GT(arguments.vectors, 0);
  alignas(16) std::byte stacks[kThreads * 1024];
  for (int thread = 0; thread < kThreads; ++thread)
    reduce_part<Half, ReduceOp::sum>(arguments, thread, kThreads, stacks + thread * arguments.entry_bytes,
                                     kThreads * arguments.entry_bytes);
  EXPECT_EQ(image, reduced_by_host(test));
}

ReduceArguments arguments_of(const std::vector<int>& combines, std::size_t stack_bytes) {
  alignas(16) static std::byte memory[16];
  const ReduceSlices call{
      .first = memory, .stride_bytes = 1024, .combines = combines, .elements = 100, .output = memory};
  return reduce_arguments<float>(call, stack_bytes);
}

TEST(ReduceArguments, need_one_step_and_no_stack_for_up_to_8_ranks_of_one_leaf) {
  for (std::size_t ranks = 1; ranks <= 8; ++ranks) {
    const ReduceArguments arguments = arguments_of(lockstep::testing::plans()[ranks - 1].combines, 0);
    EXPECT_EQ(arguments.steps, 1) << ranks;
    EXPECT_EQ(arguments.depth, 0) << ranks;
    EXPECT_EQ(arguments.vectors, 25) << ranks;
  }
}

TEST(ReduceArguments, take_1024_inputs_in_steps_of_8) {
  std::vector<Partial> partials;
  for (int rank = 0; rank < 1024; ++rank) partials.push_back({.first_leaf = rank, .leaves = 1});
  const ReduceArguments arguments = arguments_of(combines_after(partials, 1024), 384);
  EXPECT_EQ(arguments.steps, 128);
  EXPECT_EQ(arguments.depth, 7);
  EXPECT_EQ(arguments.vectors, 25);
}

TEST(ReduceArguments, take_single_elements_where_the_stack_has_no_room_for_vectors) {
  const std::vector<int> combines = lockstep::testing::plans().back().combines;
  const ReduceArguments arguments = arguments_of(combines, 16);
  EXPECT_GT(arguments.depth, 1);
  EXPECT_EQ(arguments.vectors, 0);
  EXPECT_EQ(arguments.entry_bytes, 4);
}

// By conversions of its own: in float64 where one of the two is, else each step rounded to float32.
double scaled_plainly(double from, double old, const CopyCase& test, double scale, bool add) {
  if (test.from == DType::float64 || test.to == DType::float64) return from * scale + (add ? old : 0.0);
  const float product = static_cast<float>(from) * static_cast<float>(scale);
  return static_cast<double>(product + (add ? static_cast<float>(old) : 0.0F));
}

void check_scaled_copy(const CopyCase& test, double scale, bool add) {
  Bytes image = test.image();
  Bytes expected = image;
  const std::vector<ScaledCopy> places = test.copies(expected.data());
  for (const ScaledCopy& copy : places) {
    for (std::int64_t i = 0; i < copy.elements; ++i) {
      const auto at = [&](const void* range, DType dtype) {
        return static_cast<std::size_t>(static_cast<const std::byte*>(range) - expected.data()) / size_of(dtype) +
               static_cast<std::size_t>(i);
      };
      const double from = lockstep::testing::value_at(expected, at(copy.from, test.from), test.from);
      const double old = lockstep::testing::value_at(expected, at(copy.to, test.to), test.to);
      lockstep::testing::set_value(expected, at(copy.to, test.to), test.to,
                                   scaled_plainly(from, old, test, scale, add));
    }
  }
  reference_scaled_copy(test.copies(image.data()), scale, add);
  EXPECT_TRUE(image == expected) << name_of(test.from) << " to " << name_of(test.to) << " · " << scale
                                 << (add ? ", added" : "");
}

TEST(ReferenceScaledCopy, equals_a_plain_loop_between_all_floats) {
  for (const DType from : lockstep::testing::kFloats) {
    for (const DType to : lockstep::testing::kFloats) {
      for (const double scale : {1.0, 0.3, -65536.0}) {
        check_scaled_copy({from, to}, scale, false);
        check_scaled_copy({from, to}, scale, true);
      }
    }
  }
}

template <class To, class From>
To copied(From from, DType from_dtype, DType to_dtype, double scale = 1.0, bool add = false, To to = {}) {
  const ScaledCopy copy{&from, &to, 1, from_dtype, to_dtype};
  reference_scaled_copy({&copy, 1}, scale, add);
  return to;
}

TEST(ReferenceScaledCopy, rounds_float32_to_float16_once_to_nearest_even) {
  const auto to_float16 = [](float value) { return copied<std::uint16_t>(value, DType::float32, DType::float16); };
  EXPECT_EQ(to_float16(65519.996F), 0x7bff);  // the largest
  EXPECT_EQ(to_float16(65520.0F), 0x7c00);    // infinity
  EXPECT_EQ(to_float16(-1e9F), 0xfc00);
  EXPECT_EQ(to_float16(std::ldexp(1.0F, -24)), 0x0001);  // the smallest denormal
  EXPECT_EQ(to_float16(std::ldexp(1.0F, -25)), 0x0000);  // half of it: to even
  EXPECT_EQ(to_float16(1.5F * std::ldexp(1.0F, -24)), 0x0002);
  EXPECT_EQ(to_float16(1.0F + std::ldexp(1.0F, -11)), 0x3c00);
}

TEST(ReferenceScaledCopy, rounds_float64_once_where_float32_in_between_would_round_twice) {
  const double above_a_tie = 1.0 + std::ldexp(1.0, -11) + std::ldexp(1.0, -40);
  EXPECT_EQ(copied<std::uint16_t>(above_a_tie, DType::float64, DType::float16), 0x3c01);
  EXPECT_EQ(copied<std::uint16_t>(-above_a_tie, DType::float64, DType::float16), 0xbc01);
  const double below_a_tie = 1.0 + 3 * std::ldexp(1.0, -8) - std::ldexp(1.0, -40);
  EXPECT_EQ(copied<std::uint16_t>(below_a_tie, DType::float64, DType::bfloat16), 0x3f81);
  EXPECT_EQ(copied<std::uint16_t>(1e300, DType::float64, DType::bfloat16), 0x7f80);
}

TEST(ReferenceScaledCopy, drops_the_payload_and_the_sign_of_a_nan) {
  const auto nan = std::bit_cast<float>(0xffa12345U);
  EXPECT_EQ(copied<std::uint32_t>(nan, DType::float32, DType::float32), 0x7fc00000U);
  EXPECT_EQ(copied<std::uint16_t>(nan, DType::float32, DType::float16), 0x7e00);
  EXPECT_EQ(copied<std::uint16_t>(nan, DType::float32, DType::bfloat16), 0x7fc0);
  EXPECT_EQ(copied<std::uint64_t>(nan, DType::float32, DType::float64), 0x7ff8000000000000U);
}

TEST(ReferenceScaledCopy, makes_minus_zero_plus_zero_unless_it_adds) {
  EXPECT_EQ(copied<std::uint32_t>(-0.0F, DType::float32, DType::float32), 0U);
  EXPECT_EQ(copied<std::uint32_t>(-0.0F, DType::float32, DType::float32, 1.0, true, 0x80000000U), 0x80000000U);
}

struct Unscaled {
  Bytes image;
  UnscaleCase::Results results;
};
Unscaled unscaled_by_reference(const UnscaleCase& test, float scale) {
  Bytes image = test.image(scale);
  const auto ranges = test.ranges(image.data());
  reference_unscale(test.call(image.data(), ranges));
  const UnscaleCase::Results results = UnscaleCase::results(image);
  return {std::move(image), results};
}

TEST(ReferenceUnscale, multiplies_in_place_as_a_plain_loop) {
  for (const bool finite : {true, false}) {
    const UnscaleCase test{.finite = finite};
    const Unscaled got = unscaled_by_reference(test, 0.3F);
    Bytes expected = test.image(0.3F);
    for (const FloatRange& range : test.ranges(expected.data())) {
      const auto at = static_cast<std::size_t>(static_cast<const std::byte*>(range.data) - expected.data());
      for (std::int64_t i = 0; i < range.elements; ++i) {
        const std::size_t index = at / size_of(range.dtype) + static_cast<std::size_t>(i);
        const double value = lockstep::testing::value_at(expected, index, range.dtype);
        const double product = range.dtype == DType::float64 ? value * static_cast<double>(0.3F)
                                                             : static_cast<double>(static_cast<float>(value) * 0.3F);
        lockstep::testing::set_value(expected, index, range.dtype, product);
      }
    }
    std::memcpy(expected.data(), &got.results, sizeof(got.results));
    EXPECT_TRUE(got.image == expected) << finite;
  }
}

// The order of scaled_lanes.hpp, written down again.
class OrderedSum {
 public:
  void add(std::size_t lane, double value) { lanes_[lane] += value; }
  double total() {
    for (std::size_t left = 128; left > 0; left /= 2)
      for (std::size_t lane = 0; lane < left; ++lane) lanes_[lane] += lanes_[lane + left];
    return lanes_[0];
  }

 private:
  std::vector<double> lanes_ = std::vector<double>(256);
};

TEST(ReferenceUnscale, adds_squares_by_groups_of_4_in_256_lanes_of_chunks_of_8192) {
  const UnscaleCase test;
  Unscaled got = unscaled_by_reference(test, 0.3F);
  OrderedSum expected;
  double one_by_one = 0;
  std::size_t chunk = 0;
  for (const FloatRange& range : test.ranges(got.image.data())) {
    const auto at = static_cast<std::size_t>(static_cast<const std::byte*>(range.data) - got.image.data());
    for (std::int64_t begin = 0; begin < range.elements; begin += 8192) {
      OrderedSum sum;
      for (std::int64_t i = begin; i < std::min(begin + 8192, range.elements); ++i) {
        const std::size_t index = at / size_of(range.dtype) + static_cast<std::size_t>(i);
        const double value = lockstep::testing::value_at(got.image, index, range.dtype);
        sum.add(static_cast<std::size_t>((i - begin) / 4 % 256), value * value);
        one_by_one += value * value;
      }
      expected.add(chunk++ % 256, sum.total());
    }
  }
  EXPECT_EQ(got.results.squared_norm, expected.total());
  EXPECT_NE(got.results.squared_norm, one_by_one);  // else the values would not tell orders apart
  EXPECT_EQ(got.results.non_finite, 0.0F);
}

TEST(ReferenceUnscale, gives_equal_norms_to_equal_ranges_wherever_they_lie) {
  const Unscaled aligned = unscaled_by_reference({.offset_bytes = 0}, 0.3F);
  const Unscaled elsewhere = unscaled_by_reference({.offset_bytes = 8}, 0.3F);
  EXPECT_EQ(aligned.results.squared_norm, elsewhere.results.squared_norm);
}

UnscaleCase::Results unscaled(void* value, DType dtype, float scale, float non_finite = 0.0F) {
  UnscaleCase::Results results{.scale = scale, .non_finite = non_finite};
  const FloatRange range{value, 1, dtype};
  double scratch = 0;
  reference_unscale({.ranges = {&range, 1},
                     .scale = &results.scale,
                     .non_finite = &results.non_finite,
                     .squared_norm = &results.squared_norm,
                     .scratch = reinterpret_cast<std::byte*>(&scratch)});
  return results;
}

TEST(ReferenceUnscale, sees_a_result_that_is_not_finite_once_it_is_rounded) {
  std::uint16_t large = 0x7bff;  // 65504
  EXPECT_EQ(unscaled(&large, DType::float16, 2.0F).non_finite, 1.0F);
  EXPECT_EQ(large, 0x7c00);
  float nan = std::nanf("");
  EXPECT_EQ(unscaled(&nan, DType::float32, 1.0F).non_finite, 1.0F);
  double huge = 1e300;  // its square overflows, it does not
  EXPECT_EQ(unscaled(&huge, DType::float64, 1.0F).non_finite, 0.0F);
}

TEST(ReferenceUnscale, leaves_non_finite_as_it_was_when_all_results_are_finite) {
  float value = 3;
  EXPECT_EQ(unscaled(&value, DType::float32, 0.5F, 1.0F).non_finite, 1.0F);
  EXPECT_EQ(unscaled(&value, DType::float32, 2.0F).squared_norm, 9.0);
}

TEST(UnscaleScratch, has_a_float64_for_each_chunk) {
  const FloatRange ranges[] = {
      {nullptr, 8192, DType::float32}, {nullptr, 0, DType::float16}, {nullptr, 8193, DType::float64}};
  EXPECT_EQ(unscale_scratch_bytes(ranges), 3 * sizeof(double));
  EXPECT_EQ(unscale_scratch_bytes({}), 0U);
}

}  // namespace
}  // namespace lockstep::comm::gpu
