// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "lockstep/runtime/runtime.hpp"
#include "lockstep/runtime/train_state.hpp"

namespace lockstep {

// The checkpoints of a run: which one to start from, whether it fits, and how to write the next.

// Collective. Restores `state` from the newest good checkpoint of the run folder and records the start in run.json.
// Returns the step to go on from; 0 for a new run. Throws, the same on all ranks, if there are only damaged ones, if
// options differ (unless resume.allow_changes), or if the program's state does not fit.
[[nodiscard]] std::int64_t start_or_resume(Runtime& runtime, TrainState& state);

// Collective. Rank 0 writes the checkpoint of `step`; the others wait for the outcome. Throws CheckpointError on all.
void save_checkpoint(Runtime& runtime, const TrainState& state, std::int64_t step);

}  // namespace lockstep
