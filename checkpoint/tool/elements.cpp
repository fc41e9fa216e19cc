// SPDX-License-Identifier: Apache-2.0
#include "elements.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "place.hpp"

namespace lockstep::tool {
namespace {

constexpr std::uint64_t kPieceBytes = 16 << 20;

template <typename T>
double as_double(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return static_cast<double>(value);
}

double half_as_double(std::uint16_t bits) {
  constexpr int kBias = 15;
  constexpr int kMantissaBits = 10;
  const int exponent = (bits >> kMantissaBits) & 0x1f;
  const int mantissa = bits & 0x3ff;
  double value = 0.0;
  if (exponent == 0x1f) {
    value = mantissa == 0 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  } else if (exponent == 0) {
    value = std::ldexp(mantissa, 1 - kBias - kMantissaBits);
  } else {
    value = std::ldexp(mantissa + (1 << kMantissaBits), exponent - kBias - kMantissaBits);
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

double element(DType dtype, const std::byte* at) {
  std::uint16_t bits = 0;
  switch (dtype) {
    case DType::float64:
      return as_double<double>(at);
    case DType::float32:
      return as_double<float>(at);
    case DType::float16:
      std::memcpy(&bits, at, sizeof bits);
      return half_as_double(bits);
    case DType::bfloat16:
      std::memcpy(&bits, at, sizeof bits);
      return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
    case DType::int64:
      return as_double<std::int64_t>(at);
    case DType::int32:
      return as_double<std::int32_t>(at);
    case DType::int16:
      return as_double<std::int16_t>(at);
    case DType::int8:
      return as_double<std::int8_t>(at);
    case DType::uint8:
    case DType::boolean:
      return as_double<std::uint8_t>(at);
  }
  return 0.0;
}

// Calls use(first byte, bytes) for one piece of the tensor after the other.
template <typename Use>
void for_each_piece(const StoredTensor& tensor, const Use& use) {
  const std::uint64_t bytes = bytes_of(tensor);
  for (std::uint64_t first = 0; first < bytes; first += kPieceBytes) use(first, std::min(kPieceBytes, bytes - first));
}

void read(const Checkpoint& checkpoint, const StoredTensor& tensor, std::uint64_t first, std::span<std::byte> bytes) {
  const ReadRequest request{tensor.name, static_cast<std::int64_t>(first / size_of(tensor.dtype)), bytes};
  checkpoint.read(std::span(&request, 1));
}

}  // namespace

Statistics statistics_of(const Checkpoint& checkpoint, const StoredTensor& tensor) {
  const std::size_t size = size_of(tensor.dtype);
  Statistics result;
  double squares = 0.0;  // of distances from the mean; Welford's method
  std::int64_t finite = 0;
  std::vector<std::byte> buffer;
  for_each_piece(tensor, [&](std::uint64_t first, std::uint64_t bytes) {
    buffer.resize(bytes);
    read(checkpoint, tensor, first, buffer);
    for (std::size_t at = 0; at < bytes; at += size) {
      const double value = element(tensor.dtype, buffer.data() + at);
      result.zeros += value == 0.0 ? 1 : 0;
      if (!std::isfinite(value)) {
        ++result.not_finite;
        continue;
      }
      if (++finite == 1) result = {value, value, 0.0, 0.0, result.zeros, result.not_finite};
      result.least = std::min(result.least, value);
      result.most = std::max(result.most, value);
      const double step = value - result.mean;
      result.mean += step / static_cast<double>(finite);
      squares += step * (value - result.mean);
    }
  });
  if (finite > 0) result.deviation = std::sqrt(squares / static_cast<double>(finite));
  return result;
}

Difference difference_of(const Checkpoint& left, const Checkpoint& right, const StoredTensor& tensor) {
  const std::size_t size = size_of(tensor.dtype);
  Difference result;
  std::vector<std::byte> ours;
  std::vector<std::byte> theirs;
  for_each_piece(tensor, [&](std::uint64_t first, std::uint64_t bytes) {
    ours.resize(bytes);
    theirs.resize(bytes);
    read(left, tensor, first, ours);
    read(right, tensor, first, theirs);
    if (ours == theirs) return;
    for (std::size_t at = 0; at < bytes; at += size) {
      if (std::memcmp(ours.data() + at, theirs.data() + at, size) == 0) continue;
      ++result.elements;
      const double distance =
          std::abs(element(tensor.dtype, ours.data() + at) - element(tensor.dtype, theirs.data() + at));
      if (std::isnan(distance) || distance > result.largest) result.largest = distance;  // a NaN stays
    }
  });
  return result;
}

}  // namespace lockstep::tool
