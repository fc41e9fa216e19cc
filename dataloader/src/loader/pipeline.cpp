// SPDX-License-Identifier: Apache-2.0
#include "loader/pipeline.hpp"

#include <ATen/ops/empty.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <iterator>
#include <utility>

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kPrefetchSamples = 3;     // as many are on their way to the processor while one is read
constexpr std::int64_t kPieceBytes = 256 << 10;  // less is not worth a turn at the lock
constexpr std::int64_t kSmallSteps = 16;
constexpr std::int64_t kSmallStepsBytes = 2 << 20;

std::int64_t nanoseconds_since(Clock::time_point began) {
  return std::chrono::nanoseconds(Clock::now() - began).count();
}

std::int64_t largest_part(const LoaderOptions& options) {
  return (options.global_batch + options.micro_batches - 1) / options.micro_batches;
}

// Of what is not ragged.
std::int64_t bytes_of_sample(const std::vector<FieldInfo>& fields) {
  std::size_t bytes = 1;
  for (const auto& field : fields) bytes += field.ragged() ? 0 : field.row_bytes();
  return static_cast<std::int64_t>(bytes);
}

// Samples of a piece: enough pieces for all threads to end a batch together, but none too small.
std::int64_t samples_of_piece(std::int64_t sample_bytes, const LoaderOptions& options) {
  const std::int64_t part = largest_part(options);
  const std::int64_t fair = (part + 4 * options.threads - 1) / (4 * options.threads);
  return std::clamp<std::int64_t>(kPieceBytes / sample_bytes, fair, part);
}

// Steps that are read ahead: of small ones more, or threads would be woken for each.
std::int64_t steps_ahead(std::int64_t sample_bytes, const LoaderOptions& options) {
  const std::int64_t step_bytes =
      largest_part(options) * std::max<std::int64_t>(1, options.owned.size()) * sample_bytes;
  return std::max<std::int64_t>(options.prefetch_steps, std::min(kSmallSteps, kSmallStepsBytes / step_bytes));
}

// Those that are read ahead, and those of the two steps that the program may hold; on their way to a GPU, two more.
std::size_t spare_batches(std::int64_t steps_ahead, const LoaderOptions& options) {
  return static_cast<std::size_t>((steps_ahead + (options.pinned_memory ? 4 : 2)) * options.owned.size());
}

}  // namespace

struct Pipeline::Piece {
  std::size_t part = 0;    // of the plan, and of the step's micro-batches
  std::int64_t first = 0;  // sample in the part
  std::int64_t samples = 0;
  std::vector<SampleSlot::Rows> rows{};  // of each field
  std::vector<DamagedEntry> damaged{};
};

struct Pipeline::Job {
  ReadStep result;
  std::vector<Piece> pieces;
  std::size_t taken = 0;  // guarded by the pipeline's mutex, as the rest of these
  std::size_t done = 0;
  bool ready = false;
  std::exception_ptr error;
};

Pipeline::Pipeline(const std::vector<FieldInfo>& fields, SampleStream& stream, const SampleReader& reader,
                   const LoaderOptions& options)
    : fields_(fields),
      stream_(stream),
      reader_(reader),
      options_(options),
      piece_samples_(samples_of_piece(bytes_of_sample(fields), options)),
      steps_ahead_(steps_ahead(bytes_of_sample(fields), options)),
      memory_(fields, largest_part(options), spare_batches(steps_ahead_, options), options.pinned_memory) {
  for (int i = 0; i < options.threads; ++i) {
    threads_.emplace_back([this](const std::stop_token& stop) { run(stop); });
  }
}

ReadStep Pipeline::next() {
  std::unique_lock lock(mutex_);
  head_ready_.wait(lock, [this] { return (!jobs_.empty() && jobs_.front()->ready) || (jobs_.empty() && plan_error_); });
  if (jobs_.empty()) std::rethrow_exception(plan_error_);
  if (jobs_.front()->error) std::rethrow_exception(jobs_.front()->error);
  ReadStep result = std::move(jobs_.front()->result);
  jobs_.pop_front();
  const bool little_left = std::ssize(jobs_) <= steps_ahead_ / 2;
  lock.unlock();
  if (little_left) work_changed_.notify_one();
  return result;
}

void Pipeline::add_to(LoaderStatistics& statistics) const {
  const std::lock_guard lock(mutex_);
  statistics.queued_steps = std::ranges::count_if(jobs_, [](const auto& job) { return job->ready; });
  statistics.reading += std::chrono::nanoseconds(reading_ns_.load(std::memory_order_relaxed));
  statistics.backpressure += std::chrono::nanoseconds(idle_ns_.load(std::memory_order_relaxed));
}

Pipeline::Job* Pipeline::job_with_work() const {
  const auto job = std::ranges::find_if(jobs_, [](const auto& it) { return it->taken < it->pieces.size(); });
  return job == jobs_.end() ? nullptr : job->get();
}

void Pipeline::run(const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), "lockstep-prefet");  // the kernel keeps 15 characters of lockstep-prefetch
  std::unique_lock lock(mutex_);
  const auto room = [this] { return std::ssize(jobs_) < steps_ahead_ && !planning_ && !plan_error_; };
  while (!stop.stop_requested()) {
    if (Job* job = job_with_work()) {
      work(lock, *job);
    } else if (room()) {
      plan(lock);
    } else {
      const auto began = Clock::now();
      work_changed_.wait(lock, stop, [&] { return job_with_work() != nullptr || room(); });
      idle_ns_.fetch_add(nanoseconds_since(began), std::memory_order_relaxed);
    }
  }
}

// Reads the job's next piece. A job leaves the queue only when all its pieces are done, so that it stays valid.
void Pipeline::work(std::unique_lock<std::mutex>& lock, Job& job) {
  Piece& piece = job.pieces[job.taken++];
  lock.unlock();
  std::exception_ptr error;
  const auto began = Clock::now();
  try {
    read_piece(job, piece);
  } catch (...) {
    error = std::current_exception();
  }
  reading_ns_.fetch_add(nanoseconds_since(began), std::memory_order_relaxed);
  lock.lock();
  if (error && !job.error) job.error = error;
  if (++job.done < job.pieces.size()) return;
  if (!job.error) {
    lock.unlock();
    try {
      finish(job);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    job.error = error;
  }
  job.ready = true;
  if (jobs_.front().get() == &job) head_ready_.notify_one();
}

void Pipeline::plan(std::unique_lock<std::mutex>& lock) {
  planning_ = true;
  lock.unlock();
  std::shared_ptr<Job> job;
  std::exception_ptr error;
  try {
    job = prepare();
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  planning_ = false;
  if (error) {
    plan_error_ = error;
    head_ready_.notify_one();
    return;
  }
  jobs_.push_back(job);
  if (job->ready) {
    head_ready_.notify_one();
  } else if (job->pieces.size() > 1 || options_.threads > 1) {
    work_changed_.notify_all();
  }
}

// The step's memory, and its work in pieces.
std::shared_ptr<Pipeline::Job> Pipeline::prepare() {
  auto job = std::make_shared<Job>();
  StepPlan plan = stream_.next();
  job->result.after = std::move(plan.after);
  LoadedStep& step = job->result.step;
  step = {.epoch = plan.epoch, .step_in_epoch = plan.step_in_epoch, .samples = plan.samples, .micro_batches = {}};
  for (std::size_t i = 0; i < plan.parts.size(); ++i) {
    const auto samples = std::ssize(plan.parts[i].ids);
    MicroBatch& micro_batch = step.micro_batches.emplace_back();
    micro_batch.index = plan.parts[i].micro_batch;
    micro_batch.samples = samples;
    if (samples == 0) continue;
    micro_batch.batch.ids = std::move(plan.parts[i].ids);
    for (std::size_t f = 0; f < fields_.size(); ++f) {
      Column& column = micro_batch.batch.columns.emplace_back();
      column.name = fields_[f].name;
      if (!fields_[f].ragged()) column.values = memory_.take(f, samples);
    }
    for (std::int64_t first = 0; first < samples; first += piece_samples_) {
      job->pieces.push_back({.part = i, .first = first, .samples = std::min(piece_samples_, samples - first)});
    }
  }
  job->ready = job->pieces.empty();
  return job;
}

void Pipeline::read_piece(Job& job, Piece& piece) const {
  Batch& batch = job.result.step.micro_batches[piece.part].batch;
  piece.rows.resize(fields_.size());
  std::vector<SampleSlot::Rows*> ragged(fields_.size(), nullptr);
  std::vector<std::span<std::byte>> places(fields_.size());  // of the next sample; empty where the field is ragged
  for (std::size_t f = 0; f < fields_.size(); ++f) {
    if (fields_[f].ragged()) {
      piece.rows[f].row_bytes = fields_[f].row_bytes();
      ragged[f] = &piece.rows[f];
    } else {
      const std::size_t bytes = fields_[f].row_bytes();
      auto* const column = static_cast<std::byte*>(batch.columns[f].values.mutable_data_ptr());
      places[f] = {column + static_cast<std::size_t>(piece.first) * bytes, bytes};
    }
  }
  SampleSlot slot(std::vector<std::span<std::byte>>(fields_.size()), std::move(ragged));
  const auto prefetch = [&](std::int64_t i) {
    if (i < piece.first + piece.samples) reader_.prefetch(batch.ids[static_cast<std::size_t>(i)]);
  };
  for (std::int64_t i = piece.first; i < piece.first + kPrefetchSamples; ++i) prefetch(i);
  for (std::int64_t i = piece.first; i < piece.first + piece.samples; ++i) {
    prefetch(i + kPrefetchSamples);
    for (std::size_t f = 0; f < fields_.size(); ++f) {
      slot.move_to(f, places[f]);
      places[f] = {places[f].data() + places[f].size(), places[f].size()};
    }
    SampleId& id = batch.ids[static_cast<std::size_t>(i)];
    id = reader_.read(id, slot, piece.damaged);
  }
}

// Ragged fields: the rows of the pieces one behind the other, which needs all their lengths.
void Pipeline::join_ragged(const Job& job, std::size_t part, std::size_t field, Column& column) const {
  column.offsets = at::empty({job.result.step.micro_batches[part].samples + 1}, at::kLong);
  auto* offsets = column.offsets.mutable_data_ptr<std::int64_t>();
  *offsets++ = 0;
  std::int64_t rows = 0;
  for (const auto& piece : job.pieces) {
    if (piece.part != part) continue;
    for (const auto end : piece.rows[field].ends) *offsets++ = rows + end;
    rows += piece.rows[field].ends.back();
  }
  column.values = empty_tensor(fields_[field], {rows}, options_.pinned_memory);
  auto* to = static_cast<std::byte*>(column.values.mutable_data_ptr());
  for (const auto& piece : job.pieces) {
    const auto& bytes = piece.rows[field].bytes;
    if (piece.part != part || bytes.empty()) continue;
    std::memcpy(to, bytes.data(), bytes.size());
    to += bytes.size();
  }
}

void Pipeline::finish(Job& job) const {
  for (auto& piece : job.pieces) std::ranges::move(piece.damaged, std::back_inserter(job.result.damaged));
  auto& micro_batches = job.result.step.micro_batches;
  for (std::size_t part = 0; part < micro_batches.size(); ++part) {
    Batch& batch = micro_batches[part].batch;
    for (std::size_t f = 0; f < batch.columns.size(); ++f) {
      Column& column = batch.columns[f];
      if (fields_[f].ragged()) join_ragged(job, part, f, column);
      job.result.bytes += static_cast<std::int64_t>(column.values.nbytes());
      if (column.name == "data") batch.data = column.values;
      if (column.name == "target") batch.target = column.values;
    }
  }
}

}  // namespace lockstep
