// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "lockstep/base/dtype.hpp"

namespace lockstep {

// Converts stored elements (any alignment) to delivered ones. To float32: float(stored) · scale + offset, rounded after
// each operation, which pins the bits; float32 with scale 1 and offset 0: the same bits. To int64: the value itself.
using Convert = void(const std::byte* from, void* to, std::int64_t elements, float scale, float offset);

// Null where lockstep does not convert: it delivers float32 from any number, int64 from any integer.
[[nodiscard]] Convert* converter(DType stored, DType delivered) noexcept;

// From uint16 (2 bytes) or uint32 (4 bytes), which are stored but have no DType: PyTorch hardly computes with them.
[[nodiscard]] Convert* unsigned_converter(std::size_t bytes, DType delivered) noexcept;

}  // namespace lockstep
