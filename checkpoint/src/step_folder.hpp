// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "lockstep/checkpoint/reader.hpp"

namespace lockstep {

inline constexpr std::string_view kUnfinishedMark = ".tmp-";

[[nodiscard]] std::string step_name(std::int64_t step);  // "step-00000010"; more digits from 10^8 on

// The step of exactly such a name; nothing for any other, such as "step-00000010.damaged-1700000000".
[[nodiscard]] std::optional<std::int64_t> step_of_name(std::string_view name);

// Whether it is the temporary folder of a writer: "step-00000010.tmp-4711-0a1b2c3d".
[[nodiscard]] bool is_unfinished_name(std::string_view name);

// Opens folder/step_name(step). Throws CheckpointError as Checkpoint::open does, and if it holds another step.
[[nodiscard]] Checkpoint open_step(const std::filesystem::path& folder, std::int64_t step);

}  // namespace lockstep
