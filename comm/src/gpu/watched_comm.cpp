// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "../deadline_guard.hpp"
#include "../flight_registry.hpp"
#include "../missing_ranks.hpp"
#include "native_error.hpp"
#include "watchdog.hpp"

namespace lockstep::comm::gpu {
namespace {

using std::chrono::milliseconds;

double seconds_of(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

WatchedComm::WatchedComm(const Libraries& libraries, NcclComm comm, std::unique_ptr<Pulse> pulse,
                         bool pulse_on_watchdog, std::string name)
    : exits{.dump = flight::dump_as_requested,
            .hard_exit =
                [](const std::string& why) {
                  end_process(
                      {.what = "giving up",
                       .why = why,
                       .fix = "start the job again; if it comes back, look for driver errors (dmesg: NVRM, Xid)"});
                }},
      libraries_(libraries),
      comm_(comm),
      pulse_on_watchdog_(pulse_on_watchdog),
      name_(std::move(name)),
      pulse_(std::move(pulse)) {}

WatchedComm::~WatchedComm() = default;

void WatchedComm::note(const Call& call) { pulse_->note(call); }

void WatchedComm::queued(QueuedCall call) {
  const std::lock_guard lock(mutex_);
  in_flight_.push_back(std::move(call));
}

void WatchedComm::throw_if_failed() const {
  if (!failed()) return;
  const std::lock_guard lock(mutex_);
  throw BackendFailure{*failure_};
}

std::unique_lock<std::recursive_timed_mutex> WatchedComm::enter() {
  std::unique_lock lock(asking_);
  throw_if_failed();
  return lock;
}

bool WatchedComm::done(std::uint64_t number) {
  {
    const std::lock_guard lock(mutex_);
    if (number <= completed_) return true;
  }
  if (const auto failure = retire(Clock::now())) fail(*failure);
  throw_if_failed();
  const std::lock_guard lock(mutex_);
  return number <= completed_;
}

std::vector<int> WatchedComm::behind(std::uint64_t number) const {
  std::vector<int> ranks;
  const std::vector<Standing> standings = pulse_->standings();
  for (int rank = 0; rank < pulse_->host().world_size(); ++rank) {
    const bool called = standings[static_cast<std::size_t>(rank)].called >= number;
    if (!called && rank != pulse_->host().rank()) ranks.push_back(rank);
  }
  return ranks;
}

std::vector<int> WatchedComm::behind(const Call& call) const {
  return is_between_two(call.kind) ? std::vector{call.root} : behind(call.sequence + 1);
}

void WatchedComm::advance_pulse() {
  if (failed()) return tell_peers(Caller::calling_thread);
  if (const auto failure = drive_pulse(Clock::now())) fail(*failure);
}

void WatchedComm::fail(const Failure& failure) noexcept {
  note_failure(failure);
  give_up(failure, Caller::calling_thread);
}

void WatchedComm::close(milliseconds timeout) {
  pulse_->say_goodbye();
  const Clock::time_point began = Clock::now();
  while (!pulse_->finished()) {
    advance_pulse();
    throw_if_failed();
    if (Clock::now() - began > timeout) {
      fail({.kind = FailureKind::timeout,
            .why = fmt::format("timed out after {:.1f} s: not all ranks have closed the communicator ({})",
                               seconds_of(Clock::now() - began), name_),
            .fix = std::string(kFixOfMissingRanks)});
      throw_if_failed();
    }
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  const std::lock_guard lock(asking_);
  left_ = true;
}

std::optional<Failure> WatchedComm::look(Clock::time_point now) {
  if (failed()) return std::nullopt;
  std::optional<Failure> failure;
  if (pulse_on_watchdog_) failure = drive_pulse(now);
  if (!failure) failure = ask_nccl();
  if (!failure) failure = retire(now);
  if (!failure) failure = find_overdue(now);
  if (failure && note_failure(*failure)) return failure;
  return std::nullopt;
}

std::optional<Failure> WatchedComm::drive_pulse(Clock::time_point now) {
  const std::unique_lock lock(driving_, std::try_to_lock);
  if (!lock) return std::nullopt;
  const Clock::time_point before = std::exchange(driven_, std::max(driven_, now));
  try {
    auto failure = pulse_->advance(driven_ - (before == Clock::time_point() ? driven_ : before));
    hurries_.store(pulse_->hurries(), std::memory_order_relaxed);
    return failure;
  } catch (const BackendFailure& thrown) {
    return thrown.failure;
  }
}

std::optional<Failure> WatchedComm::ask_nccl() {
  const std::unique_lock lock(asking_, std::try_to_lock);
  if (!lock || left_) return std::nullopt;  // who calls NCCL now asks it, too
  NcclStatus state = NcclStatus::success;
  const NcclStatus status = libraries_.nccl->async_error(comm_, state);
  if (status != NcclStatus::success) state = status;
  if (state == NcclStatus::success || state == NcclStatus::in_progress) return std::nullopt;
  return nccl_failure(*libraries_.nccl, comm_, state, "ncclCommGetAsyncError");
}

// CUDA is asked without mutex_: a driver that hangs would hold up the thread that calls.
std::optional<Failure> WatchedComm::retire(Clock::time_point now) {
  const std::lock_guard one_at_a_time(retiring_);
  while (true) {
    std::shared_ptr<EventHandle> event;
    {
      const std::lock_guard lock(mutex_);
      if (in_flight_.empty()) return std::nullopt;
      event = in_flight_.front().done;
    }
    const CudaStatus status = libraries_.cuda->query(event.get());
    if (status == CudaStatus::not_ready) return std::nullopt;
    try {
      check(*libraries_.cuda, status, "cudaEventQuery");
    } catch (const BackendFailure& thrown) {
      return thrown.failure;
    }
    const std::lock_guard lock(mutex_);
    const QueuedCall& oldest = in_flight_.front();
    completed_ = oldest.number;
    retired_ = now;
    pulse_->completed(oldest.number);
    in_flight_.pop_front();
  }
}

// Calls that wait for earlier ones are not late: the oldest has its time from when it became that.
std::optional<Failure> WatchedComm::find_overdue(Clock::time_point now) const {
  std::optional<QueuedCall> oldest;
  {
    const std::lock_guard lock(mutex_);
    if (in_flight_.empty()) return std::nullopt;
    const QueuedCall& first = in_flight_.front();
    if (now - std::max(first.queued, retired_) <= first.timeout) return std::nullopt;
    oldest = first;
  }
  const std::string call =
      fmt::format("{}{}{} ({}), queued {:.1f} s ago, timed out after {:.1f} s (comm.timeout_seconds)",
                  to_string(oldest->call), oldest->label.empty() ? "" : " of ", oldest->label, name_,
                  seconds_of(now - oldest->queued), seconds_of(oldest->timeout));
  const Backend& host = pulse_->host();
  const std::vector<int> missing = behind(oldest->call);
  if (missing.empty()) {
    return Failure{.kind = FailureKind::timeout,
                   .why = call + ": all ranks have called it, and the device does not finish it",
                   .fix =
                       "set NCCL_DEBUG=INFO and see docs/gpus.md#hangs; raise comm.timeout_seconds if the GPU is only "
                       "slow"};
  }
  std::string why = fmt::format("{} waiting for {}", call, names_of(missing, host.peers()));
  if (!is_between_two(oldest->call.kind)) why += "; called by: " + others_than(missing, host.world_size());
  return Failure{.kind = FailureKind::timeout, .why = std::move(why), .fix = std::string(kFixOfMissingRanks)};
}

}  // namespace lockstep::comm::gpu
