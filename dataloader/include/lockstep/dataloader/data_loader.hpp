// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/base/resumable.hpp"
#include "lockstep/base/split.hpp"
#include "lockstep/dataloader/batch.hpp"
#include "lockstep/dataloader/source.hpp"

namespace lockstep {

// What becomes of an epoch's last step where the samples do not fill it.
enum class LastBatch : std::uint8_t {
  shorter,  // it has fewer samples
  drop,     // it is left out; the next epoch goes on behind its samples
  pad,      // its samples come again, from its first on, until it is full
};

struct LoaderOptions {
  std::uint64_t seed = 0;
  std::int64_t global_batch = 128;  // samples of a step, over all ranks
  int micro_batches = 1;            // M: parts of a step (docs/determinism.md)
  Range owned{0, 1};                // the micro-batches that this rank runs
  bool shuffle = true;              // sources without an order of their own; false: in the order of the data set
  LastBatch last_batch = LastBatch::shorter;
  std::int64_t epoch_samples = 0;  // 0: as many as all sources have in a pass
  bool pinned_memory = false;      // batches lie in page-locked memory, for copies to a GPU; needs LibTorch's CUDA
  int threads = 1;                 // that read and decode
  int prefetch_steps = 2;          // steps read ahead; each costs its batches' memory; of small ones more, up to 2 MiB
  std::optional<std::int64_t> damaged_budget{};  // samples that may be replaced; default: a thousandth of an epoch
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
  std::int64_t samples = 0;               // of the whole step, over all ranks: N
  std::vector<MicroBatch> micro_batches;  // the owned ones, by index
};

// Since the loader was made, on this rank.
struct LoaderStatistics {
  std::int64_t steps = 0;                    // delivered
  std::int64_t samples = 0;                  // delivered, on this rank
  std::int64_t bytes = 0;                    // of their tensors
  std::int64_t queued_steps = 0;             // read and waiting to be delivered, now
  std::chrono::nanoseconds waited{0};        // next() for data: the training waits
  std::chrono::nanoseconds reading{0};       // threads in Dataset::read, together
  std::chrono::nanoseconds backpressure{0};  // threads that had nothing to do because enough was read ahead, together
};

// Delivers the micro-batches that a rank owns, step by step, epoch after epoch, without end. Which samples a step holds
// is a pure function of (seed, sources, weights, position in the stream); never of ranks or threads. Threads named
// `lockstep-prefetch` read ahead, straight into the batches' memory, which is used again once the program has let go of
// a batch. A damaged sample is replaced by another one of its source, chosen by its number alone. Not thread-safe.
class DataLoader : public Resumable {
 public:
  // Throws UsageError: an option that makes no sense, no or empty sources, two of one name, sources that deliver
  // different fields.
  DataLoader(std::vector<Source> sources, const LoaderOptions& options);
  // Of one source, without a name.
  DataLoader(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options);
  DataLoader(const DataLoader&) = delete;
  DataLoader& operator=(const DataLoader&) = delete;
  ~DataLoader() override;

  // Local. Blocks until the next step is read; rethrows here what a reading thread threw (DataError, IoError), also
  // that more samples were damaged than the budget allows, with their list.
  [[nodiscard]] LoadedStep next();

  [[nodiscard]] std::int64_t epoch_samples() const noexcept;  // over all ranks
  [[nodiscard]] std::int64_t steps_per_epoch() const noexcept;
  [[nodiscard]] const std::vector<Source>& sources() const noexcept;
  [[nodiscard]] const LoaderOptions& options() const noexcept;
  [[nodiscard]] LoaderStatistics statistics() const;

  // Damaged samples that the steps so far had to replace, on this rank and, once told, on others.
  [[nodiscard]] std::vector<DamagedEntry> damaged() const;

  // The position behind the steps delivered, as JSON: {"schema_version", "seed", "epoch", "step_in_epoch",
  // "samples_in_epoch", "sources": [{"name", "fingerprint", "weight", "pass", "position", "mixed"}], "damaged"}.
  // The same on every rank and at every world size; what was read ahead does not count.
  [[nodiscard]] std::string state() const override;
  // Sources go by name: one that is kept goes on where it was, whatever became of the weights; a new one starts; one
  // that is gone is left out. Throws CheckpointError naming what differs: the seed, the content of a source.
  void load_state(std::string_view state) override;

  // The damaged samples that this rank found, for the other ranks' lists. Throws DataError past the budget.
  [[nodiscard]] std::string take_findings() override;
  void merge_findings(int rank, std::string_view findings) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
