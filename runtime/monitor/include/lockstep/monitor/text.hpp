// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace lockstep::monitor {

[[nodiscard]] std::string bytes_text(double bytes);         // "1.23 GB"
[[nodiscard]] std::string count_text(std::int64_t number);  // "1,234,567"

}  // namespace lockstep::monitor
