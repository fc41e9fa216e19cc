// SPDX-License-Identifier: Apache-2.0
#include "comm/oracle.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "lockstep/base/mix.hpp"

namespace lockstep::testing {
namespace {

// A binary floating-point format of IEEE 754's kind: sign, exponent, mantissa.
struct Format {
  int exponent_bits;
  int mantissa_bits;
  [[nodiscard]] int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  [[nodiscard]] std::uint64_t infinity() const { return ((std::uint64_t{1} << exponent_bits) - 1) << mantissa_bits; }
  [[nodiscard]] std::uint64_t quiet_nan() const { return infinity() | (std::uint64_t{1} << (mantissa_bits - 1)); }
  [[nodiscard]] std::uint64_t sign() const { return std::uint64_t{1} << (exponent_bits + mantissa_bits); }
};

Format format_of(DType dtype) {
  if (dtype == DType::float64) return {11, 52};
  if (dtype == DType::float32) return {8, 23};
  return dtype == DType::float16 ? Format{5, 10} : Format{8, 7};
}

double decode(std::uint64_t bits, Format format) {
  const std::uint64_t magnitude = bits & (format.sign() - 1);
  const std::uint64_t mantissa = magnitude & ((std::uint64_t{1} << format.mantissa_bits) - 1);
  const int exponent = static_cast<int>(magnitude >> format.mantissa_bits);
  double value = std::numeric_limits<double>::quiet_NaN();
  if (magnitude == format.infinity()) {
    value = std::numeric_limits<double>::infinity();
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<double>(mantissa), 1 - format.bias() - format.mantissa_bits);
  } else if (magnitude < format.infinity()) {
    const double with_hidden_bit = static_cast<double>(mantissa | (std::uint64_t{1} << format.mantissa_bits));
    value = std::ldexp(with_hidden_bit, exponent - format.bias() - format.mantissa_bits);
  }
  return (bits & format.sign()) != 0 ? -value : value;
}

// To nearest, ties to even; every NaN becomes the canonical one.
std::uint64_t encode(double value, Format format) {
  if (std::isnan(value)) return format.quiet_nan();
  const std::uint64_t sign = std::signbit(value) ? format.sign() : 0;
  if (std::isinf(value)) return sign | format.infinity();
  if (value == 0) return sign;
  int exponent = 0;
  std::frexp(value, &exponent);
  exponent = std::max(exponent - 1, 1 - format.bias());  // denormals share the smallest one
  const auto steps = static_cast<std::uint64_t>(
      std::nearbyint(std::ldexp(std::abs(value), format.mantissa_bits - exponent)));  // with the hidden bit
  const std::uint64_t before = static_cast<std::uint64_t>(exponent - 1 + format.bias()) << format.mantissa_bits;
  return sign | std::min(before + steps, format.infinity());
}

std::uint64_t bits_at(const Bytes& bytes, std::size_t index, std::size_t size) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, bytes.data() + index * size, size);  // little-endian
  return bits;
}

void set_bits(Bytes& bytes, std::size_t index, std::size_t size, std::uint64_t bits) {
  std::memcpy(bytes.data() + index * size, &bits, size);
}

template <class Float>
bool before(Float a, Float b) {
  return a < b || (a == b && std::signbit(a) && !std::signbit(b));  // −0 < +0
}

template <class Float>
Float combine(ReduceOp op, Float a, Float b) {
  const bool compares = op == ReduceOp::min || op == ReduceOp::max;
  if (compares && (std::isnan(a) || std::isnan(b))) return std::isnan(a) ? a : b;
  if (op == ReduceOp::min) return before(b, a) ? b : a;
  if (op == ReduceOp::max) return before(a, b) ? b : a;
  return op == ReduceOp::prod ? a * b : a + b;
}

// Wraps, like the two's complement that it is.
std::int64_t combine(ReduceOp op, std::int64_t a, std::int64_t b) {
  const auto left = static_cast<std::uint64_t>(a);
  const auto right = static_cast<std::uint64_t>(b);
  switch (op) {
    case ReduceOp::sum:
    case ReduceOp::avg:
      return static_cast<std::int64_t>(left + right);
    case ReduceOp::prod:
      return static_cast<std::int64_t>(left * right);
    case ReduceOp::min:
      return b < a ? b : a;
    case ReduceOp::max:
      return a < b ? b : a;
    case ReduceOp::bit_and:
      return a & b;
    case ReduceOp::bit_or:
      return a | b;
    case ReduceOp::bit_xor:
      return a ^ b;
  }
  return 0;
}

// T(n): one leaf, or T(the largest power of two below n) and the tree of the rest.
template <class A>
A tree(ReduceOp op, const A* leaves, std::size_t count) {
  if (count == 1) return leaves[0];
  std::size_t left = 1;
  while (left * 2 < count) left *= 2;
  return combine(op, tree(op, leaves, left), tree(op, leaves + left, count - left));
}

// `load` makes an A of bits, `store` bits of an A.
template <class A, class Load, class Store>
Bytes reduce_as(DType dtype, ReduceOp op, std::span<const Bytes> leaves, Load load, Store store) {
  const std::size_t size = size_of(dtype);
  Bytes result(leaves[0].size());
  std::vector<A> values(leaves.size());
  for (std::size_t i = 0; i < result.size() / size; ++i) {
    for (std::size_t leaf = 0; leaf < leaves.size(); ++leaf) values[leaf] = load(bits_at(leaves[leaf], i, size));
    set_bits(result, i, size, store(tree(op, values.data(), values.size())));
  }
  return result;
}

template <class A>
Bytes reduce_floats(DType dtype, ReduceOp op, double scale, std::span<const Bytes> leaves) {
  const Format format = format_of(dtype);
  return reduce_as<A>(
      dtype, op, leaves, [&](std::uint64_t bits) { return static_cast<A>(decode(bits, format)); },
      [&](A sum) { return encode(sum * static_cast<A>(scale), format); });
}

Bytes reduce_integers(DType dtype, ReduceOp op, std::span<const Bytes> leaves) {
  const int unused = 64 - 8 * static_cast<int>(size_of(dtype));
  const bool is_signed = dtype != DType::uint8 && dtype != DType::boolean;
  const auto load = [&](std::uint64_t bits) {
    return is_signed ? static_cast<std::int64_t>(bits << unused) >> unused : static_cast<std::int64_t>(bits);
  };
  return reduce_as<std::int64_t>(dtype, op, leaves, load,
                                 [](std::int64_t value) { return static_cast<std::uint64_t>(value); });
}

std::uint64_t special_value(Format format, std::uint64_t random) {
  const std::uint64_t one = static_cast<std::uint64_t>(format.bias()) << format.mantissa_bits;
  const std::uint64_t half_a_step =
      one - (static_cast<std::uint64_t>(format.mantissa_bits + 1) << format.mantissa_bits);
  const std::uint64_t normal = std::uint64_t{1} << format.mantissa_bits;  // the smallest
  const std::uint64_t magnitudes[] = {0,
                                      0,
                                      1,
                                      normal - 1,
                                      normal,
                                      normal + 1,
                                      one,
                                      one,
                                      one + 1,
                                      half_a_step,
                                      format.infinity() - 1,
                                      format.infinity(),
                                      format.infinity() | 1,  // a signalling NaN
                                      format.quiet_nan() | 3};
  return magnitudes[(random >> 8) % std::size(magnitudes)] | ((random & 1) != 0 ? format.sign() : 0);
}

// Between 2^-12 and 2^12, with few bits set.
std::uint64_t value_of_few_bits(Format format, std::uint64_t random) {
  const auto exponent = static_cast<std::uint64_t>(format.bias() - 12) + (random >> 8) % 25;
  const std::uint64_t mantissa = (random >> 16) & (random >> 20) & ((std::uint64_t{1} << format.mantissa_bits) - 1);
  return ((random & 1) != 0 ? format.sign() : 0) | (exponent << format.mantissa_bits) | mantissa;
}

std::uint64_t special_integer(DType dtype, std::uint64_t random) {
  const std::uint64_t lowest = std::uint64_t{1} << (8 * size_of(dtype) - 1);
  const std::uint64_t values[] = {0, 1, 2, ~std::uint64_t{0}, lowest, lowest - 1, lowest + 1};
  return values[(random >> 8) % std::size(values)];
}

}  // namespace

bool has_meaning(DType dtype, ReduceOp op) {
  const bool bitwise = op == ReduceOp::bit_and || op == ReduceOp::bit_or || op == ReduceOp::bit_xor;
  const bool compares = op == ReduceOp::min || op == ReduceOp::max;
  if (dtype == DType::boolean) return bitwise || compares;
  return is_floating(dtype) ? !bitwise : op != ReduceOp::avg;
}

double value_at(const Bytes& bytes, std::size_t index, DType dtype) {
  return decode(bits_at(bytes, index, size_of(dtype)), format_of(dtype));
}

void set_value(Bytes& bytes, std::size_t index, DType dtype, double value) {
  set_bits(bytes, index, size_of(dtype), encode(value, format_of(dtype)));
}

Bytes random_values(DType dtype, std::int64_t elements, std::uint64_t seed) {
  const std::size_t size = size_of(dtype);
  Bytes values(static_cast<std::size_t>(elements) * size);
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(elements); ++i) {
    const std::uint64_t random = mix_bits(mix_bits(seed + 1) + i * kGoldenGamma);
    std::uint64_t bits = random;
    if (dtype == DType::boolean) {
      bits = random & 1;
    } else if (i % 3 == 0) {
      bits = is_floating(dtype) ? special_value(format_of(dtype), random) : special_integer(dtype, random);
    } else if (i % 3 == 1 && is_floating(dtype)) {
      bits = value_of_few_bits(format_of(dtype), random);
    }
    set_bits(values, i, size, bits);
  }
  return values;
}

Bytes reduce_by_oracle(DType dtype, ReduceOp op, double scale, std::span<const Bytes> leaves) {
  if (!is_floating(dtype)) return reduce_integers(dtype, op, leaves);
  return dtype == DType::float64 ? reduce_floats<double>(dtype, op, scale, leaves)
                                 : reduce_floats<float>(dtype, op, scale, leaves);
}

}  // namespace lockstep::testing
