// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "lockstep/base/dtype.hpp"

namespace lockstep {

// Converts stored elements (any alignment) to delivered ones. To float32: float(stored) · scale + offset, rounded after
// each operation, which pins the bits. To int64, and where both types are the same: the value itself.
using Convert = void(const std::byte* from, void* to, std::int64_t elements, float scale, float offset);

// Null where lockstep does not convert: it delivers float32 from any number, int64 from any integer.
[[nodiscard]] Convert* converter(DType stored, DType delivered) noexcept;

}  // namespace lockstep
