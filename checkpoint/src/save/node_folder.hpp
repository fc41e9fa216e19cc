// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "format/manifest.hpp"
#include "format/part_layout.hpp"
#include "lockstep/checkpoint/saver.hpp"

namespace lockstep {

// A node's folder: checkpoints of which it holds some files, or all. Only its node's first rank changes it, other than
// by new files in an unfinished checkpoint. All of these are local.

[[nodiscard]] std::filesystem::path node_folder(const std::filesystem::path& folder, int number);  // folder/node-<n>

// Makes it, or takes the one that there is, without what killed savers left. Throws IoError, CheckpointError;
// UsageError if it is another user's: in a folder for all, such as /dev/shm, anyone could have put it there.
void prepare_node_folder(const std::filesystem::path& node_folder);

// Those of this user in `folder`, of all numbers, by name. Throws IoError.
[[nodiscard]] std::vector<std::filesystem::path> node_folders(const std::filesystem::path& folder);

// Renames `unfinished` to checkpoint_path(…, step) beside it; one that is there is replaced at once and removed. Throws
// IoError, std::filesystem::filesystem_error.
std::filesystem::path put_in_place(const std::filesystem::path& unfinished, std::int64_t step);

// `manifest` lacks index.h5; the node's files are durable in `unfinished`. A failed commit is in the outcome; nothing
// is left of it.
[[nodiscard]] SaveOutcome commit_on_node(const std::filesystem::path& unfinished, Manifest manifest, KeptIndex& index);

// Once all nodes have committed `step`: removes all older ones but the newest `keep_last` − 1. What cannot be removed
// is a warning.
[[nodiscard]] SaveOutcome retain_on_node(const std::filesystem::path& node_folder, std::int64_t step, int keep_last);

// Some node could not commit `step`: here, too, it must not count as one of those that are kept.
[[nodiscard]] SaveOutcome withdraw_on_node(const std::filesystem::path& node_folder, std::int64_t step);

}  // namespace lockstep
