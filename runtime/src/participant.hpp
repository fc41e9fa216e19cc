// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "lockstep/base/split.hpp"

namespace lockstep {

// What a step is cut into.
struct StepPlan {
  std::int64_t step = 0;
  int micro_batches = 1;     // M
  Range owned{0, 1};         // those of this rank
  std::int64_t samples = 0;  // N of the whole step; 0: not known, all micro-batches count alike
};

// Something that takes part in every step of the loop: the reducer of a model's gradients.
class StepParticipant {
 public:
  virtual ~StepParticipant() = default;
  virtual void begin_step(const StepPlan& plan) = 0;
  virtual void begin_micro_batch(int k, std::int64_t samples, bool last_of_rank) = 0;
  virtual void end_micro_batch() = 0;
  // Collective. Completes the step's reduction; returns whether some rank asked to stop.
  [[nodiscard]] virtual bool finish() = 0;
};

}  // namespace lockstep
