// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "loader/batch_memory.hpp"
#include "loader/sample_reader.hpp"
#include "order/sample_stream.hpp"

namespace lockstep {

// A step with what the loader keeps of it.
struct ReadStep {
  LoadedStep step;
  StreamPosition after;
  std::vector<DamagedEntry> damaged;
  std::int64_t bytes = 0;
};

// The threads that read ahead. Each takes the next piece of the earliest step that has one, or plans a step where there
// is room; the one that ends a step's last piece joins its ragged fields. Order comes from the plan alone.
class Pipeline {
 public:
  // All outlive this. `stream` is planned on from where it stands, by one thread at a time.
  Pipeline(const std::vector<FieldInfo>& fields, SampleStream& stream, const SampleReader& reader,
           const LoaderOptions& options);

  // Blocks until the next step is read. Rethrows what its reading threw, then and at every later call.
  ReadStep next();

  void add_to(LoaderStatistics& statistics) const;

 private:
  struct Piece;
  struct Job;

  void run(const std::stop_token& stop);
  void work(std::unique_lock<std::mutex>& lock, Job& job);
  void plan(std::unique_lock<std::mutex>& lock);
  [[nodiscard]] Job* job_with_work() const;
  [[nodiscard]] std::shared_ptr<Job> prepare();
  void read_piece(Job& job, Piece& piece) const;
  void join_ragged(const Job& job, std::size_t part, std::size_t field, Column& column) const;
  void finish(Job& job) const;

  const std::vector<FieldInfo>& fields_;
  SampleStream& stream_;
  const SampleReader& reader_;
  const LoaderOptions& options_;
  const std::int64_t piece_samples_;
  const std::int64_t steps_ahead_;
  BatchMemory memory_;  // of the planning thread

  mutable std::mutex mutex_;
  std::condition_variable_any work_changed_;
  std::condition_variable head_ready_;
  std::deque<std::shared_ptr<Job>> jobs_;  // guarded by mutex_; in the order of steps
  bool planning_ = false;                  // guarded by mutex_; a thread is in prepare()
  std::exception_ptr plan_error_;          // guarded by mutex_
  mutable std::atomic<std::int64_t> reading_ns_{0};
  std::atomic<std::int64_t> idle_ns_{0};
  std::vector<std::jthread> threads_;  // last: they stop and join first
};

}  // namespace lockstep
