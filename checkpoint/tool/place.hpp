// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/base/file.hpp"
#include "lockstep/checkpoint/reader.hpp"

namespace lockstep::tool {

using Json = nlohmann::ordered_json;

// The folder with step-… in it: the given one, or checkpoints/ in a run folder. Throws UsageError if there is none.
[[nodiscard]] std::filesystem::path checkpoints_folder(const std::string& given);

// `given` if it is a checkpoint, complete or not.
[[nodiscard]] std::optional<std::filesystem::path> as_checkpoint(const std::string& given);

// `given`, or the newest of its folder. Throws UsageError if there is none, CheckpointError.
[[nodiscard]] Checkpoint open_checkpoint(const std::string& given);

// Keeps jobs out of the run folder that `folder` belongs to, while this lives; nothing if it belongs to none. Throws
// UsageError while a job has it.
[[nodiscard]] std::optional<FileLock> lock_run_folder(const std::filesystem::path& folder);

void print(const Json& found);  // as JSON

[[nodiscard]] std::string shape_text(const std::vector<std::int64_t>& shape);
[[nodiscard]] std::uint64_t bytes_of(const StoredTensor& tensor);

}  // namespace lockstep::tool
