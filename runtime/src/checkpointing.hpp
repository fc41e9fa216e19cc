// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "lockstep/checkpoint/partner.hpp"
#include "lockstep/checkpoint/saver.hpp"
#include "lockstep/runtime/runtime.hpp"
#include "lockstep/runtime/train_state.hpp"
#include "state_io.hpp"

namespace lockstep {

// The checkpoints of a step loop: which one to start from, whether it fits, and saving in the background. Without a run
// folder nothing is saved.
class Checkpointing {
 public:
  Checkpointing(Runtime& runtime, TrainState& state);

  // Collective. Restores the state from the newest good checkpoint of the run folder and records the start in run.json.
  // Returns the step to go on from; 0 for a new run. Throws, the same on all ranks, if there are only damaged ones, if
  // options differ (unless resume.allow_changes), or if the program's state does not fit.
  [[nodiscard]] std::int64_t start_or_resume();

  // Collective. Begins to save `step`, when the save before has ended. `metrics`: the newest values. Where partners
  // hold copies, only each checkpoint.flush_every-th and the last go to the run folder. Saves nothing twice.
  void save(std::int64_t step, const std::map<std::string, double>& metrics, bool last);
  // Local. Returns when the optimizer may change what is being saved.
  void wait_until_staged();
  // Collective. Moves the save in flight on; a save that failed is a warning, and the run goes on.
  void advance();
  // Collective. Returns when the last save is durable; throws AgreedError on all ranks if it failed.
  void finish();

 private:
  [[nodiscard]] bool is_flushed(std::int64_t step) const;
  [[nodiscard]] std::optional<SaveOutcome> end_save();
  void tell(const SaveOutcome& outcome);

  Runtime::Impl& impl_;
  TrainState& state_;
  FlatState in_flight_;                        // what the saver may still read
  std::optional<CheckpointSaver> saver_;       // to the run folder
  std::optional<PartnerSaver> partner_saver_;  // to checkpoint.local_dir
  std::int64_t saved_step_ = -1;
  bool saved_to_run_folder_ = true;
};

}  // namespace lockstep
