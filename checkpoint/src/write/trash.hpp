// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

namespace lockstep {

// folder/.trash, where checkpoints are deleted: one that was renamed into it is gone as a whole, whenever the deletion
// is cut short. Both throw IoError or std::filesystem::filesystem_error.

// Durable on return. Does not delete it yet.
void move_to_trash(const std::filesystem::path& folder, const std::filesystem::path& checkpoint);

// Deletes all in it. A symbolic link is deleted, not followed.
void empty_trash(const std::filesystem::path& folder);

}  // namespace lockstep
