// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lockstep {

// Element types that lockstep moves, sums and stores. The values are part of file formats: append only.
enum class DType : std::uint8_t {
  float64 = 0,
  float32 = 1,
  float16 = 2,
  bfloat16 = 3,
  int64 = 4,
  int32 = 5,
  int16 = 6,
  int8 = 7,
  uint8 = 8,
  boolean = 9,
};

[[nodiscard]] std::size_t size_of(DType dtype) noexcept;       // bytes of one element
[[nodiscard]] std::string_view name_of(DType dtype) noexcept;  // "float32", "bool": PyTorch's names
[[nodiscard]] DType dtype_from_name(std::string_view name);    // Throws UsageError.
[[nodiscard]] bool is_floating(DType dtype) noexcept;

}  // namespace lockstep
