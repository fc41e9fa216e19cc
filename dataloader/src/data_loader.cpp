// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/data_loader.hpp"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <thread>
#include <utility>

#include "lockstep/base/error.hpp"
#include "lockstep/dataloader/permutation.hpp"

namespace lockstep {
namespace {

using nlohmann::json;

constexpr int kSchemaVersion = 1;

std::int64_t count_steps(std::int64_t samples, std::int64_t global_batch) noexcept {
  return samples / global_batch + (samples % global_batch != 0 ? 1 : 0);
}

// A place in the endless sequence of steps.
struct Position {
  std::int64_t epoch = 0;
  std::int64_t step_in_epoch = 0;
};

Position after(Position position, std::int64_t steps_per_epoch) noexcept {
  if (position.step_in_epoch + 1 < steps_per_epoch) {
    return {position.epoch, position.step_in_epoch + 1};
  }
  return {position.epoch + 1, 0};
}

// Reads the owned micro-batches of one step. Returns what it has when a stop is requested.
LoadedStep load_step(const Dataset& dataset, const LoaderOptions& options, Position position,
                     const std::stop_token& stop) {
  const std::int64_t first = position.step_in_epoch * options.global_batch;
  LoadedStep step{.epoch = position.epoch,
                  .step_in_epoch = position.step_in_epoch,
                  .samples = std::min(options.global_batch, dataset.samples() - first),
                  .micro_batches = {}};
  const Permutation order(static_cast<std::uint64_t>(dataset.samples()), options.seed,
                          static_cast<std::uint64_t>(position.epoch));
  std::vector<std::int64_t> indices;
  for (auto k = options.owned.first; k < options.owned.last && !stop.stop_requested(); ++k) {
    const Range part = even_split(step.samples, options.micro_batches, k);
    indices.clear();
    for (auto i = first + part.first; i < first + part.last; ++i) {
      indices.push_back(options.shuffle ? static_cast<std::int64_t>(order(static_cast<std::uint64_t>(i))) : i);
    }
    step.micro_batches.push_back({.index = static_cast<int>(k),
                                  .samples = part.size(),
                                  .batch = part.empty() ? Batch{} : dataset.read(indices)});
  }
  return step;
}

}  // namespace

// The thread that reads ahead and the bounded queue between it and next().
class DataLoader::Prefetcher {
 public:
  Prefetcher(const Dataset& dataset, const LoaderOptions& options, Position first)
      : dataset_(dataset),
        options_(options),
        thread_([this, first](const std::stop_token& stop) { run(stop, first); }) {}

  LoadedStep next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !queue_.empty() || error_; });
    if (queue_.empty()) {
      std::rethrow_exception(error_);
    }
    LoadedStep step = std::move(queue_.front());
    queue_.pop_front();
    changed_.notify_all();
    return step;
  }

 private:
  void run(const std::stop_token& stop, Position position) {
    pthread_setname_np(pthread_self(), "lockstep-prefet");  // the kernel keeps 15 characters of lockstep-prefetch
    try {
      const auto steps_per_epoch = count_steps(dataset_.samples(), options_.global_batch);
      while (wait_for_room(stop)) {
        auto step = load_step(dataset_, options_, position, stop);
        const std::lock_guard lock(mutex_);
        queue_.push_back(std::move(step));
        changed_.notify_all();
        position = after(position, steps_per_epoch);
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      error_ = std::current_exception();
      changed_.notify_all();
    }
  }

  bool wait_for_room(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    const bool room = changed_.wait(lock, stop, [this] { return std::ssize(queue_) < options_.prefetch_steps; });
    return room && !stop.stop_requested();
  }

  const Dataset& dataset_;
  const LoaderOptions& options_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<LoadedStep> queue_;  // guarded by mutex_
  std::exception_ptr error_;      // guarded by mutex_; the thread has ended
  std::jthread thread_;           // last: stops and joins first
};

DataLoader::DataLoader(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options)
    : dataset_(std::move(dataset)), options_(options) {
  const auto require = [](bool ok, std::string why) {
    if (!ok) {
      throw UsageError({.what = "DataLoader", .why = std::move(why)});
    }
  };
  require(options.global_batch >= 1, fmt::format("global_batch is {}, not at least 1", options.global_batch));
  require(options.micro_batches >= 1, fmt::format("micro_batches is {}, not at least 1", options.micro_batches));
  require(options.prefetch_steps >= 1, fmt::format("prefetch_steps is {}, not at least 1", options.prefetch_steps));
  const auto& owned = options.owned;
  require(0 <= owned.first && owned.first <= owned.last && owned.last <= options.micro_batches,
          fmt::format("owned micro-batches {} … {} are not of the {} of a step", owned.first, owned.last - 1,
                      options.micro_batches));
  require(dataset_->samples() > 0, "the data set is empty");
}

DataLoader::~DataLoader() = default;

LoadedStep DataLoader::next() {
  if (!prefetcher_) {
    prefetcher_ = std::make_unique<Prefetcher>(*dataset_, options_, Position{epoch_, step_in_epoch_});
  }
  LoadedStep step = prefetcher_->next();
  const Position next = after({step.epoch, step.step_in_epoch}, steps_per_epoch());
  epoch_ = next.epoch;
  step_in_epoch_ = next.step_in_epoch;
  return step;
}

std::int64_t DataLoader::steps_per_epoch() const noexcept {
  return count_steps(dataset_->samples(), options_.global_batch);
}

const Dataset& DataLoader::dataset() const noexcept { return *dataset_; }

const LoaderOptions& DataLoader::options() const noexcept { return options_; }

std::string DataLoader::state() const {
  return json{{"schema_version", kSchemaVersion},      {"epoch", epoch_},
              {"step_in_epoch", step_in_epoch_},       {"seed", options_.seed},
              {"global_batch", options_.global_batch}, {"dataset", dataset_->fingerprint()}}
      .dump();
}

void DataLoader::load_state(std::string_view state) {
  const auto fail = [](std::string why, std::string fix) {
    throw CheckpointError({.what = "position of the data loader", .why = std::move(why), .fix = std::move(fix)});
  };
  Position position;
  try {
    const json saved = json::parse(state);
    const json own = json::parse(this->state());
    for (const char* field : {"schema_version", "seed", "global_batch", "dataset"}) {
      if (saved.at(field) != own.at(field)) {
        fail(fmt::format("{} is {} in the checkpoint and {} in this run", field, saved.at(field).dump(),
                         own.at(field).dump()),
             fmt::format("resume with the same {}, or start a new run", field));
      }
    }
    position = {saved.at("epoch"), saved.at("step_in_epoch")};
  } catch (const json::exception& error) {
    fail(error.what(), "resume from another checkpoint");
  }
  if (position.epoch < 0 || position.step_in_epoch < 0 || position.step_in_epoch >= steps_per_epoch()) {
    fail(fmt::format("epoch {}, step {} does not exist: an epoch has {} steps", position.epoch, position.step_in_epoch,
                     steps_per_epoch()),
         "resume from another checkpoint");
  }
  prefetcher_.reset();
  epoch_ = position.epoch;
  step_in_epoch_ = position.step_in_epoch;
}

}  // namespace lockstep
