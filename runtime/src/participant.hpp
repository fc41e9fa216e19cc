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

  [[nodiscard]] std::int64_t non_empty() const noexcept {
    return samples > 0 && samples < micro_batches ? samples : micro_batches;
  }
  [[nodiscard]] std::int64_t first_non_empty() const noexcept {
    std::int64_t k = 0;
    while (samples > 0 && even_split(samples, micro_batches, k).empty()) ++k;
    return k;
  }
  // The rank of `world_size` that runs the first micro-batch with a sample.
  [[nodiscard]] int owner_of_first_non_empty(int world_size) const noexcept {
    int rank = 0;
    while (even_split(micro_batches, world_size, rank).last <= first_non_empty()) ++rank;
    return rank;
  }
};

// Something that takes part in every step of the loop: the reducer of a model's gradients.
class StepParticipant {
 public:
  virtual ~StepParticipant() = default;
  virtual void begin_step(const StepPlan& plan) = 0;
  virtual void begin_micro_batch(int k, std::int64_t samples, bool last_of_rank) = 0;
  virtual void end_micro_batch() = 0;
  // Collective, within the rank's only micro-batch: queues all that end_micro_batch() and finish() have the device do,
  // so that it can be recorded.
  virtual void reduce_now() = 0;
  // In place of a backward pass and reduce_now(): a record of the last ones has been queued again.
  virtual void replayed() = 0;
  // Collective. Completes the step's reduction; returns whether some rank asked to stop.
  [[nodiscard]] virtual bool finish() = 0;
};

}  // namespace lockstep
