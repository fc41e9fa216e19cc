// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "lockstep/dataloader/data_loader.hpp"
#include "lockstep/runtime/runtime.hpp"

namespace lockstep {

// The part of the step loop that does not depend on the type of a batch. Used through StepRange.
class StepLoop {
 public:
  // Collective. Restores `state` from the newest good checkpoint of the run folder, if there is one.
  // steps_per_epoch 0: not known.
  StepLoop(Runtime& runtime, TrainState& state, std::int64_t steps_per_epoch);
  StepLoop(const StepLoop&) = delete;
  StepLoop& operator=(const StepLoop&) = delete;
  ~StepLoop();

  [[nodiscard]] std::int64_t step() const noexcept;           // steps done
  [[nodiscard]] bool finished() const noexcept;               // train.epochs or train.max_steps reached
  void begin_step(std::int64_t epoch, std::int64_t samples);  // samples 0: not known
  // The micro-batch of index k with `samples` samples begins; 0: an empty one.
  void begin_micro_batch(int k, std::int64_t samples, bool last_of_rank);
  void end_micro_batch();
  void finish_micro_batches();  // Collective. Gradients are in place afterwards.
  void end_step();              // Collective. Logs and saves; throws Stopped after saving on request.
  void finish();                // Collective. The last save, and the parameters' digest.
  // Collective. Whether every rank has another batch: ranges of the user may be uneven.
  [[nodiscard]] bool all_have_more(bool more);
  [[nodiscard]] bool epochs_done(std::int64_t epochs) const noexcept;  // train.epochs reached
  // Local. With the batches on Runtime::device(); waits for no copy.
  [[nodiscard]] LoadedStep on_device(LoadedStep loaded);
  void log(std::string_view name, double value);
  [[nodiscard]] bool logs_this_step() const noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

namespace detail {

template <class T>
struct OneMicroBatch {
  int index = 0;
  std::int64_t samples = 0;
  T batch;
};

template <class T>
struct LoadedOf {
  std::int64_t epoch = 0;
  std::int64_t samples = 0;
  std::vector<OneMicroBatch<T>> micro_batches;
};

// Any range of batches: one item is one micro-batch of this rank; at the end it starts over. Without a position.
template <class Source>
class BatchSource {
 public:
  using Iterator = decltype(std::begin(std::declval<Source&>()));
  using BatchType = std::remove_cvref_t<decltype(*std::declval<Iterator&>())>;
  using Loaded = LoadedOf<BatchType>;

  explicit BatchSource(Source& source) : source_(source) {}
  [[nodiscard]] std::int64_t steps_per_epoch() const noexcept { return 0; }

  [[nodiscard]] bool next(StepLoop& loop, int rank, Loaded& loaded) {
    bool wrapped = false;
    while (true) {
      if (!position_) position_.emplace(std::begin(source_));
      if (loop.all_have_more(*position_ != std::end(source_))) break;
      if (wrapped) return false;  // an empty range
      position_.reset();
      wrapped = true;
      ++epoch_;
      if (loop.epochs_done(epoch_)) return false;
    }
    loaded.epoch = epoch_;
    loaded.samples = 0;
    loaded.micro_batches.clear();
    loaded.micro_batches.push_back({rank, 1, **position_});
    ++*position_;
    return true;
  }

 private:
  Source& source_;
  std::optional<Iterator> position_;
  std::int64_t epoch_ = 0;
};

template <>
class BatchSource<DataLoader> {
 public:
  using BatchType = Batch;
  using Loaded = LoadedStep;

  explicit BatchSource(DataLoader& loader) : loader_(loader) {}
  [[nodiscard]] std::int64_t steps_per_epoch() const noexcept { return loader_.steps_per_epoch(); }
  [[nodiscard]] bool next(StepLoop& loop, int, Loaded& loaded) {
    loaded = {};  // its memory may be used again
    loaded = loop.on_device(loader_.next());
    return true;
  }

 private:
  DataLoader& loader_;
};

}  // namespace detail

// One step: its micro-batches that this rank owns, and its metrics.
template <class Source>
class Step {
 public:
  using Loaded = typename detail::BatchSource<Source>::Loaded;
  using BatchType = typename detail::BatchSource<Source>::BatchType;

  // Goes over the batches of this rank's micro-batches, often one. Its end completes the gradients on every rank, also
  // on one without a sample. Leaving it early cancels the step: the next one throws UsageError.
  class MicroBatches {
   public:
    class Iterator {
     public:
      Iterator(Step& step, std::size_t position) : step_(&step), position_(position) { enter(); }
      BatchType& operator*() const { return step_->loaded_.micro_batches[position_].batch; }
      Iterator& operator++() {
        step_->loop_.end_micro_batch();
        ++position_;
        enter();
        return *this;
      }
      bool operator==(std::default_sentinel_t) const { return position_ == step_->loaded_.micro_batches.size(); }

     private:
      // Begins the micro-batch at position_; passes over empty ones, which contribute zeros.
      void enter() {
        auto& parts = step_->loaded_.micro_batches;
        for (; position_ < parts.size(); ++position_) {
          const bool last = position_ + 1 == parts.size();
          step_->loop_.begin_micro_batch(parts[position_].index, parts[position_].samples, last);
          if (parts[position_].samples > 0) return;
          step_->loop_.end_micro_batch();
        }
        step_->loop_.finish_micro_batches();
      }
      Step* step_;
      std::size_t position_;
    };
    explicit MicroBatches(Step& step) : step_(step) {}
    Iterator begin() { return Iterator(step_, 0); }
    std::default_sentinel_t end() { return {}; }

   private:
    Step& step_;
  };

  explicit Step(StepLoop& loop) : loop_(loop) {}
  [[nodiscard]] MicroBatches micro_batches() { return MicroBatches(*this); }
  [[nodiscard]] std::int64_t index() const noexcept { return loop_.step(); }
  [[nodiscard]] std::int64_t epoch() const noexcept { return loaded_.epoch; }
  [[nodiscard]] std::int64_t samples() const noexcept { return loaded_.samples; }  // of all ranks; 0: not known

  // Local. A metric of the present micro-batch, or of the step: logged as the mean over the step's samples on all
  // ranks. On steps that are not logged nothing is read from the device.
  void log(std::string_view name, const at::Tensor& value) {
    if (loop_.logs_this_step()) loop_.log(name, value.template item<double>());
  }
  void log(std::string_view name, double value) {
    if (loop_.logs_this_step()) loop_.log(name, value);
  }

 private:
  friend class StepRange<Source>;
  StepLoop& loop_;
  Loaded loaded_;
};

// What Runtime::steps returns: a range over the steps that are left.
template <class Source>
class StepRange {
 public:
  class Iterator {
   public:
    explicit Iterator(StepRange& range) : range_(&range) {}
    Step<Source>& operator*() const { return range_->current_; }
    Iterator& operator++() {
      range_->loop_->end_step();
      range_->advance();
      return *this;
    }
    bool operator==(std::default_sentinel_t) const { return range_->done_; }

   private:
    StepRange* range_;
  };

  // Collective.
  StepRange(Runtime& runtime, TrainState& state, Source& source)
      : rank_(runtime.rank()),
        source_(source),
        loop_(std::make_unique<StepLoop>(runtime, state, source_.steps_per_epoch())),
        current_(*loop_) {}

  Iterator begin() {
    advance();
    return Iterator(*this);
  }
  std::default_sentinel_t end() { return {}; }

 private:
  void advance() {
    done_ = loop_->finished() || !source_.next(*loop_, rank_, current_.loaded_);
    if (done_) {
      loop_->finish();
    } else {
      loop_->begin_step(current_.loaded_.epoch, current_.loaded_.samples);
    }
  }

  int rank_;
  detail::BatchSource<Source> source_;
  std::unique_ptr<StepLoop> loop_;
  Step<Source> current_;
  bool done_ = false;
};

template <class Source>
StepRange<Source> Runtime::steps(TrainState& state, Source& source) {
  return StepRange<Source>(*this, state, source);
}

}  // namespace lockstep
