// SPDX-License-Identifier: Apache-2.0
#include "comm/gpu/kernel_cases.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels.hpp"
#include "lockstep/base/mix.hpp"
#include "lockstep/comm/tree.hpp"

namespace lockstep::testing {
namespace {

constexpr std::size_t kGuard = 64;           // bytes, behind what a call writes
constexpr std::size_t kMostBytes = 1 << 20;  // of images with many ranges
constexpr std::size_t kResultsBytes = 4096;  // in front of the ranges of UnscaleCase, with scratch

std::size_t aligned(std::size_t bytes) { return (bytes + 15) / 16 * 16; }

// The order in which ranks that own so many leaves each are added up.
std::vector<int> combines_of(const std::vector<std::int64_t>& leaves) {
  std::int64_t total = 0;
  for (const std::int64_t count : leaves) total += count;
  std::vector<Partial> partials;
  std::int64_t first = 0;
  for (const std::int64_t count : leaves) {
    for (const Range range : subtrees_in({first, first + count}, total))
      partials.push_back({.first_leaf = range.first, .leaves = range.size()});
    first += count;
  }
  return comm::combines_after(partials, total);
}

std::vector<std::int64_t> sizes() {
  std::vector<std::int64_t> sizes{8191, 0, 8192, 8193, 3 * 8192 + 5};
  for (std::int64_t size = 0; size < 200; ++size) sizes.push_back(size % 23);
  return sizes;
}

// Puts arrays behind each other, each `skew` elements behind a multiple of 16 bytes.
class Layout {
 public:
  std::size_t add(std::int64_t elements, DType dtype, std::size_t skew) {
    const std::size_t at = end_ + skew * size_of(dtype);
    end_ = aligned(at + static_cast<std::size_t>(elements) * size_of(dtype));
    return at;
  }
  [[nodiscard]] std::size_t end() const { return end_; }

 private:
  std::size_t end_ = 0;
};

void put(const void* at, const Bytes& values) {
  std::copy(values.begin(), values.end(), static_cast<std::byte*>(const_cast<void*>(at)));
}

// Of very different sizes: the order in which their squares are added shows.
Bytes finite_values(DType dtype, std::int64_t elements, std::uint64_t seed) {
  Bytes values(static_cast<std::size_t>(elements) * size_of(dtype));
  for (std::int64_t i = 0; i < elements; ++i) {
    const std::uint64_t random = mix_bits(seed * 1'000'003 + static_cast<std::uint64_t>(i));
    const auto mantissa = static_cast<double>(static_cast<std::int64_t>(random % 20'001) - 10'000);
    set_value(values, static_cast<std::size_t>(i), dtype, std::ldexp(mantissa, static_cast<int>(random >> 60) - 14));
  }
  return values;
}

}  // namespace

std::vector<Plan> plans() {
  std::vector<Plan> plans;
  for (const int ranks : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 23, 100}) {
    const std::vector<std::int64_t> one_each(static_cast<std::size_t>(ranks), 1);
    plans.push_back({"T(" + std::to_string(ranks) + ")", combines_of(one_each)});
  }
  plans.push_back({"4 leaves on each of 3 ranks", combines_of({4, 4, 4})});
  plans.push_back({"3 leaves on each of 4 ranks", combines_of({3, 3, 3, 3})});
  plans.push_back({"13 leaves on 4 ranks", combines_of({3, 4, 1, 5})});
  plans.push_back({"1001 leaves on 5 ranks", combines_of({333, 1, 127, 511, 29})});
  return plans;
}

std::size_t ReduceCase::stride() const {
  return aligned(static_cast<std::size_t>(elements) * size_of(dtype)) + gap_bytes;
}

Bytes ReduceCase::image() const {
  Bytes image(offset_bytes + aligned((combines.size() + 1) * stride()) + kGuard, std::byte{0xa5});
  for (std::size_t i = 0; i < combines.size(); ++i)
    put(image.data() + offset_bytes + i * stride(), random_values(dtype, elements, i));
  return image;
}

comm::gpu::ReduceSlices ReduceCase::call(std::byte* image) const {
  return {.first = image + offset_bytes,
          .stride_bytes = stride(),
          .combines = combines,
          .elements = elements,
          .dtype = dtype,
          .op = op,
          .scale = is_floating(dtype) ? 0.3 : 1.0,
          .output = image + offset_bytes + aligned(combines.size() * stride())};
}

std::vector<comm::gpu::ScaledCopy> CopyCase::copies(std::byte* image) const {
  std::vector<comm::gpu::ScaledCopy> copies;
  Layout layout;
  for (const std::int64_t elements : sizes()) {
    const std::size_t skew = copies.size() / 2 % 5;
    std::byte* const at = image + layout.add(elements, from, skew);  // both aligned, one of them, none
    copies.push_back({at, image + layout.add(elements, to, copies.size() % 2 == 0 ? skew : 0), elements, from, to});
  }
  return copies;
}

Bytes CopyCase::image() const {
  Bytes image(kMostBytes, std::byte{0xa5});
  std::uint64_t seed = 0;
  for (const comm::gpu::ScaledCopy& copy : copies(image.data())) {
    put(copy.from, random_values(from, copy.elements, ++seed));
    put(copy.to, random_values(to, copy.elements, ++seed));
  }
  return image;
}

std::vector<comm::gpu::FloatRange> UnscaleCase::ranges(std::byte* image) const {
  std::vector<comm::gpu::FloatRange> ranges;
  Layout layout;
  for (const std::int64_t elements : sizes()) {
    const DType dtype = kFloats[ranges.size() % 4];
    std::byte* const at = image + kResultsBytes + offset_bytes + layout.add(elements, dtype, ranges.size() / 4 % 5);
    ranges.push_back({at, elements, dtype});
  }
  return ranges;
}

Bytes UnscaleCase::image(float scale) const {
  Bytes image(kMostBytes, std::byte{0xa5});
  std::uint64_t seed = 0;
  for (const comm::gpu::FloatRange& range : ranges(image.data())) {
    ++seed;
    put(range.data,
        finite ? finite_values(range.dtype, range.elements, seed) : random_values(range.dtype, range.elements, seed));
  }
  const Results results{.scale = scale};
  std::memcpy(image.data(), &results, sizeof(results));
  return image;
}

comm::gpu::Unscale UnscaleCase::call(std::byte* image, std::span<const comm::gpu::FloatRange> ranges) const {
  auto* const results = reinterpret_cast<Results*>(image);
  return {.ranges = ranges,
          .scale = &results->scale,
          .non_finite = &results->non_finite,
          .squared_norm = &results->squared_norm,
          .scratch = image + sizeof(Results)};
}

UnscaleCase::Results UnscaleCase::results(const Bytes& image) {
  Results results;
  std::memcpy(&results, image.data(), sizeof(results));
  return results;
}

void UnscaleCase::forget_scratch(Bytes& image) {
  std::fill(image.begin() + sizeof(Results), image.begin() + kResultsBytes, std::byte{0xa5});
}

}  // namespace lockstep::testing
