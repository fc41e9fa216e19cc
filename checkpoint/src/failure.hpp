// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <string>

#include "lockstep/base/error.hpp"

namespace lockstep {

// A checkpoint cannot be looked at (no permission, no descriptor left, a newer schema). It may be good, so that a
// search must not pass it by for an older one.
class CannotLook : public CheckpointError {
 public:
  using CheckpointError::CheckpointError;
};

// "write run/rank-00003.h5: No space left on device": without the fix, which is for whoever sees the error itself.
[[nodiscard]] std::string failure_text(const std::exception& error);

// Called in a catch block: throws what was caught as a CheckpointError about `what`. CheckpointError, its children and
// UsageError pass as they are; IoError and DataError become its `why`, and so do the standard library's exceptions, as
// CannotLook: memory or threads that ran out say nothing about a checkpoint.
[[noreturn]] void rethrow_as_checkpoint_error(const std::string& what, const std::string& fix);

}  // namespace lockstep
