// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/base/resumable.hpp"
#include "lockstep/base/split.hpp"
#include "lockstep/dataloader/dataset.hpp"

namespace lockstep {

struct LoaderOptions {
  std::uint64_t seed = 0;
  std::int64_t global_batch = 128;  // samples of a step, over all ranks; an epoch's last step may have fewer
  int micro_batches = 1;            // M: parts of a step (docs/determinism.md)
  Range owned{0, 1};                // the micro-batches that this rank runs
  bool shuffle = true;              // by Permutation(seed, epoch); false: in the order of the data set, for evaluation
  int prefetch_steps = 2;           // steps read ahead by the prefetch thread; each costs its batches' memory
};

// One of the M parts of a step.
struct MicroBatch {
  int index = 0;             // k of 0 … M−1
  std::int64_t samples = 0;  // 0: `batch` is undefined; the rank still takes part in the step
  Batch batch;
};

// What this rank has of one step.
struct LoadedStep {
  std::int64_t epoch = 0;
  std::int64_t step_in_epoch = 0;
  std::int64_t samples = 0;  // of the whole step, over all ranks: N
  std::vector<MicroBatch> micro_batches;  // the owned ones, by index
};

// Delivers the micro-batches that a rank owns, step by step, epoch after epoch, without end. Which samples a step holds
// is a pure function of (seed, epoch, step_in_epoch, global_batch); never of ranks or threads. A thread named
// `lockstep-prefetch` reads ahead. Not thread-safe.
class DataLoader : public Resumable {
 public:
  // Throws UsageError: global_batch < 1, micro_batches < 1, `owned` outside them, an empty data set.
  DataLoader(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options);
  DataLoader(const DataLoader&) = delete;
  DataLoader& operator=(const DataLoader&) = delete;
  ~DataLoader() override;

  // Local. Blocks until the next step is read; rethrows here what the prefetch thread threw (DataError).
  [[nodiscard]] LoadedStep next();

  [[nodiscard]] std::int64_t steps_per_epoch() const noexcept;  // ⌈samples/global_batch⌉
  [[nodiscard]] const Dataset& dataset() const noexcept;
  [[nodiscard]] const LoaderOptions& options() const noexcept;

  // {"schema_version", "epoch", "step_in_epoch", "seed", "global_batch", "dataset"}: the step that next() gives next.
  // Depends on what was delivered, not on what was read ahead.
  [[nodiscard]] std::string state() const override;
  // Throws CheckpointError naming the field that differs: seed, global_batch or the data set's fingerprint.
  void load_state(std::string_view state) override;

 private:
  class Prefetcher;
  std::shared_ptr<const Dataset> dataset_;
  LoaderOptions options_;
  std::int64_t epoch_ = 0;
  std::int64_t step_in_epoch_ = 0;
  std::unique_ptr<Prefetcher> prefetcher_;  // last: its thread stops first
};

}  // namespace lockstep
