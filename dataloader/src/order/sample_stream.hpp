// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lockstep/dataloader/batch.hpp"
#include "lockstep/dataloader/data_loader.hpp"
#include "lockstep/dataloader/mixture.hpp"

namespace lockstep {

struct SourcePosition {
  std::int64_t pass = 0;
  std::int64_t position = 0;  // in the pass: the sample that comes next
  std::int64_t mixed = 0;     // samples given since the weights are what they are
  friend bool operator==(const SourcePosition&, const SourcePosition&) = default;
};

// Behind some step.
struct StreamPosition {
  std::int64_t epoch = 0;
  std::int64_t step_in_epoch = 0;
  std::int64_t samples_in_epoch = 0;
  std::vector<SourcePosition> sources;
};

// What one step reads on this rank.
struct StepPlan {
  struct Part {
    int micro_batch = 0;
    std::vector<SampleId> ids;
  };
  std::int64_t epoch = 0;
  std::int64_t step_in_epoch = 0;
  std::int64_t samples = 0;  // over all ranks
  std::vector<Part> parts;   // the owned micro-batches
  StreamPosition after;
};

// The endless sequence of steps. Every rank goes through the whole of it, and looks up the samples that are its own.
class SampleStream {
 public:
  // `sources` and `options` outlive this.
  SampleStream(const std::vector<Source>& sources, const LoaderOptions& options);

  [[nodiscard]] StepPlan next();
  [[nodiscard]] const StreamPosition& position() const noexcept { return position_; }
  void check(const StreamPosition& position) const;  // Throws UsageError where the counts of the mix cannot be.
  void seek(const StreamPosition& position);         // one that check() takes

  [[nodiscard]] std::int64_t epoch_samples() const noexcept { return epoch_samples_; }
  [[nodiscard]] std::int64_t steps_per_epoch() const noexcept;
  [[nodiscard]] std::uint64_t seed_of(std::size_t source) const noexcept { return tracks_[source].seed; }
  [[nodiscard]] std::int64_t samples_per_pass(std::size_t source) const noexcept {
    return tracks_[source].samples_per_pass;
  }
  [[nodiscard]] std::int64_t weight_of(std::size_t source) const noexcept { return weights_[source]; }

 private:
  struct Track {  // one source
    std::shared_ptr<const SampleOrder> order;
    std::uint64_t seed = 0;
    std::int64_t samples_per_pass = 0;
    std::unique_ptr<const PassOrder> order_of_pass{};  // of the current one; made when a sample of it is asked for
  };

  // Goes past the next samples; `ids` collects them, null where they are another rank's.
  void give(std::int64_t samples, std::vector<SampleId>* ids);
  [[nodiscard]] SampleId id_of_next(std::size_t source);
  void advance(std::size_t source, std::int64_t samples);
  void finish_step(std::int64_t samples);
  [[nodiscard]] Mixture resumed(const StreamPosition& position) const;

  const LoaderOptions& options_;
  std::vector<Track> tracks_;
  std::vector<std::int64_t> weights_;
  Mixture mixture_;
  std::int64_t epoch_samples_ = 0;
  StreamPosition position_;
};

}  // namespace lockstep
