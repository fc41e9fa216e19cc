// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace lockstep {

[[nodiscard]] std::string_view version() noexcept;  // "0.1.0"

}  // namespace lockstep
