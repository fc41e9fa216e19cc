// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/ScalarType.h>

#include "lockstep/base/dtype.hpp"

namespace lockstep {

// Our name of a tensor's dtype, and back. Throws UsageError for dtypes that lockstep does not move (complex,
// quantized).
[[nodiscard]] DType dtype_of(at::ScalarType type);
[[nodiscard]] at::ScalarType scalar_type_of(DType dtype) noexcept;

}  // namespace lockstep
