// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace lockstep {

// Called in a catch block: throws what was caught as a CheckpointError about `what`. CheckpointError and UsageError
// pass as they are; IoError, DataError and the standard library's exceptions become its `why`.
[[noreturn]] void rethrow_as_checkpoint_error(const std::string& what, const std::string& fix);

}  // namespace lockstep
