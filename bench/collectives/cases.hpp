// SPDX-License-Identifier: Apache-2.0
// What the bench can measure, what goes into each call and what must come out of it. Knows no library.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

namespace bench {

enum class Collective { all_reduce, reduce_scatter, all_gather, broadcast, all_to_all };
enum class Format { f32, bf16, f16 };

struct Case {
  const char* name;
  Collective collective = Collective::all_reduce;
  Format format = Format::f32;
  bool average = false;
  bool any_order = false;
  bool out_of_place = false;  // all but all_reduce and broadcast are
};

inline constexpr Case kCases[] = {
    {.name = "all_reduce"},
    {.name = "all_reduce_bf16", .format = Format::bf16},
    {.name = "all_reduce_f16", .format = Format::f16},
    {.name = "all_reduce_avg", .average = true},
    {.name = "all_reduce_any", .any_order = true},
    {.name = "all_reduce_out", .out_of_place = true},
    {.name = "reduce_scatter", .collective = Collective::reduce_scatter, .out_of_place = true},
    {.name = "all_gather", .collective = Collective::all_gather, .out_of_place = true},
    {.name = "broadcast", .collective = Collective::broadcast},
    {.name = "all_to_all", .collective = Collective::all_to_all, .out_of_place = true},
};

constexpr std::size_t size_of(Format format) { return format == Format::f32 ? 4 : 2; }

// One call's memory. `elements`: of the whole array, whose bytes are the size that is reported (as in nccl-tests): what
// all ranks together contribute to an all_gather, and each of them to a reduce_scatter or an all_to_all.
struct Buffers {
  void* input = nullptr;
  void* output = nullptr;  // in place: the same
  std::int64_t elements = 0;
};

inline std::int64_t input_elements(const Case& of, std::int64_t elements, int ranks) {
  return of.collective == Collective::all_gather ? elements / ranks : elements;
}
inline std::int64_t output_elements(const Case& of, std::int64_t elements, int ranks) {
  return of.collective == Collective::reduce_scatter ? elements / ranks : elements;
}

// Inputs are whole numbers, small enough for sums of two ranks to be exact in bfloat16 (of many, in float32): element e
// of rank r in iteration i is (e + i) % kPeriod + r.
inline constexpr std::int64_t kPeriod = 100;
inline double input_value(std::int64_t element, std::int64_t iteration, int rank) {
  return static_cast<double>((element + iteration) % kPeriod + rank);
}

inline double expected_value(const Case& of, std::int64_t element, std::int64_t elements, std::int64_t iteration,
                             int rank, int ranks) {
  const std::int64_t part = elements / ranks;
  const auto origin = static_cast<int>(std::min<std::int64_t>(part == 0 ? 0 : element / part, ranks - 1));
  switch (of.collective) {
    case Collective::all_reduce:
    case Collective::reduce_scatter: {
      const std::int64_t at = of.collective == Collective::reduce_scatter ? rank * part + element : element;
      const double sum = ranks * input_value(at, iteration, 0) + ranks * (ranks - 1) / 2.0;
      return of.average ? sum / ranks : sum;
    }
    case Collective::all_gather:
      return input_value(element - origin * part, iteration, origin);
    case Collective::broadcast:
      return input_value(element, iteration, 0);
    case Collective::all_to_all:
      return input_value(rank * part + element - origin * part, iteration, origin);
  }
  return 0;
}

// Positive, or zero; exact for the values above.
inline std::uint16_t to_half(Format format, float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (format == Format::bf16) return static_cast<std::uint16_t>(bits >> 16U);
  return value == 0 ? 0 : static_cast<std::uint16_t>((bits >> 13U) - ((127U - 15U) << 10U));
}
inline float from_half(Format format, std::uint16_t half) {
  const auto bits = static_cast<std::uint32_t>(half);
  if (format == Format::bf16) return std::bit_cast<float>(bits << 16U);
  return half == 0 ? 0 : std::bit_cast<float>((bits + ((127U - 15U) << 10U)) << 13U);
}

// Writes a rank's inputs, by copies out of one stretch of the pattern.
class Filler {
 public:
  Filler(Format format, int rank) : width_(size_of(format)), stretch_((kStretch + kPeriod) * width_) {
    for (std::int64_t e = 0; e < static_cast<std::int64_t>(kStretch + kPeriod); ++e) {
      const auto value = static_cast<float>(input_value(e, 0, rank));
      const std::uint16_t half = to_half(format, value);
      char* const at = stretch_.data() + static_cast<std::size_t>(e) * width_;
      if (width_ == 4)
        std::memcpy(at, &value, 4);
      else
        std::memcpy(at, &half, 2);
    }
  }
  void fill(void* data, std::int64_t elements, std::int64_t iteration) const {
    const char* const from = stretch_.data() + static_cast<std::size_t>(iteration % kPeriod) * width_;
    const std::size_t bytes = static_cast<std::size_t>(elements) * width_;
    for (std::size_t done = 0; done < bytes; done += kStretch * width_)
      std::memcpy(static_cast<char*>(data) + done, from, std::min(kStretch * width_, bytes - done));
  }

 private:
  static constexpr std::size_t kStretch = 10 * kPeriod;
  std::size_t width_;
  std::vector<char> stretch_;
};

inline double value_at(Format format, const void* data, std::int64_t element) {
  if (format == Format::f32) return static_cast<const float*>(data)[element];
  return from_half(format, static_cast<const std::uint16_t*>(data)[element]);
}

}  // namespace bench
