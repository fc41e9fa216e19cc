// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lockstep {

inline constexpr std::string_view kUnfinishedMark = ".tmp-";

[[nodiscard]] std::string step_name(std::int64_t step);  // "step-00000010"; more digits from 10^8 on
[[nodiscard]] std::string part_name(int rank);           // "rank-00003.h5"; more digits from 10^5 on

// The step of exactly such a name; nothing for any other, such as "step-00000010.damaged-1700000000".
[[nodiscard]] std::optional<std::int64_t> step_of_name(std::string_view name);

// Whether it is the temporary folder of a writer: "step-00000010.tmp-4711-0a1b2c3d".
[[nodiscard]] bool is_unfinished_name(std::string_view name);

}  // namespace lockstep
