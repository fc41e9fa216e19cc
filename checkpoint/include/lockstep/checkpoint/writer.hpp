// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "lockstep/checkpoint/contents.hpp"

namespace lockstep {

// Local. Writes folder/step-NNNNNNNN as one writer whose slices cover every tensor, and returns when it is durable
// (docs/checkpoint_format.md). Returns the final path. If that step exists and verifies, it is kept as it is; if it is
// damaged, it is set aside as step-NNNNNNNN.damaged-<time>.
// Throws CheckpointError naming the file and errno's text; the temporary folder is removed and older checkpoints stay.
// Throws UsageError for contents that cannot be stored.
std::filesystem::path write_checkpoint(const std::filesystem::path& folder, const CheckpointContents& contents);

// Local. Removes temporary folders that killed writers left in `folder`, and its trash. Call it while no writer is at
// work there: while holding the run folder's lock.
void remove_unfinished_checkpoints(const std::filesystem::path& folder);

}  // namespace lockstep
