// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

// What a .npy file says of its elements; `payload` is a part of the file and holds exactly them.
struct NpyArray {
  std::string_view elements;  // "float32", "uint16": NumPy's names; names of DType but for uint16 and uint32
  std::vector<std::int64_t> shape;
  std::span<const std::byte> payload;
};

// Reads a file of NumPy's format, version 1 to 3 (numpy/lib/format.py). Returns why not; empty: `array` is filled.
[[nodiscard]] std::string parse_npy(std::span<const std::byte> file, NpyArray& array);

}  // namespace lockstep
