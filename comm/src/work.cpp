// SPDX-License-Identifier: Apache-2.0
#include "lockstep/comm/work.hpp"

#include <fmt/format.h>

#include "lockstep/base/error.hpp"
#include "missing_ranks.hpp"
#include "work_state.hpp"

namespace lockstep {

using Clock = std::chrono::steady_clock;

namespace {

constexpr std::chrono::microseconds kSlice(50);

std::exception_ptr error_of(const comm::Failure& failure, ErrorText text) {
  switch (failure.kind) {
    case comm::FailureKind::mismatch:
      return std::make_exception_ptr(MismatchError(std::move(text)));
    case comm::FailureKind::timeout:
      return std::make_exception_ptr(TimeoutError(std::move(text)));
    case comm::FailureKind::peer_died:
      return std::make_exception_ptr(PeerDied(std::move(text), failure.culprit));
    case comm::FailureKind::aborted:
    case comm::FailureKind::native:
      break;
  }
  return std::make_exception_ptr(CommError(std::move(text)));
}

// What `thrower`, which always throws, throws.
template <class Thrower>
std::exception_ptr caught(Thrower thrower) noexcept {
  std::exception_ptr error;
  try {
    thrower();
  } catch (...) {
    error = std::current_exception();
  }
  return error;
}

}  // namespace

std::string CommunicatorState::who() const {
  const auto rank = static_cast<std::size_t>(backend->rank());
  return fmt::format("rank {}/{} {}", rank, backend->world_size(), backend->peers()[rank].host);
}

std::string CommunicatorState::describe(const comm::Call& call, std::string_view label) const {
  return fmt::format("{}{}{} on \"{}\" ({})", comm::to_string(call), label.empty() ? "" : " of ", label, name,
                     backend->name());
}

void CommunicatorState::fail(std::string subject, const comm::Failure& failure) {
  throw_if_failed();
  backend->fail(failure);
  const std::string see = flight::note_failure(*flight, failure);
  const std::string fix = failure.fix + (failure.fix.empty() || see.empty() ? "" : "; ") + see;
  error = error_of(failure, {.who = who(), .what = std::move(subject), .why = failure.why, .fix = fix});
  std::rethrow_exception(error);
}

void CommunicatorState::fail_by_timeout(const Work::State& work, std::chrono::milliseconds waited) {
  const std::vector<int> missing = work.operation->missing();
  std::string why = fmt::format("timed out after {:.1f} s waiting for {}", waited.count() / 1000.0,
                                comm::names_of(missing, backend->peers()));
  if (!comm::is_between_two(work.call.kind)) why += "; arrived: " + comm::others_than(missing, backend->world_size());
  fail(work.subject(), {.kind = comm::FailureKind::timeout, .why = why, .fix = std::string(comm::kFixOfMissingRanks)});
}

void ProgressEngine::add(std::shared_ptr<Work::State> work) { in_flight_.push_back(std::move(work)); }

bool ProgressEngine::advance() noexcept {
  bool moved = false;
  const auto slice_end = Clock::now() + kSlice;
  for (auto work = in_flight_.begin(); work != in_flight_.end();) {
    Work::State& state = **work;
    try {
      if (!state.error) {
        state.communicator->throw_if_failed();
        const comm::Advanced advanced = state.operation->advance(slice_end);
        moved = moved || advanced != comm::Advanced::not_yet;
        state.mark.advanced(advanced, slice_end - kSlice);
        if (advanced != comm::Advanced::fully) {
          ++work;
          continue;
        }
        state.operation.reset();
        state.keep_alive.reset();
        work = in_flight_.erase(work);
        continue;
      }
    } catch (const comm::BackendFailure& thrown) {
      state.error = caught([&] { state.communicator->fail(state.subject(), thrown.failure); });
    } catch (...) {
      state.error = std::current_exception();
    }
    ++work;  // a failed one stays for ever: native requests may still write to its buffers
  }
  return moved;
}

bool Work::State::join_stream() {
  try {
    joined = operation->join_stream();
  } catch (const comm::BackendFailure& thrown) {
    error = caught([&] { communicator->fail(subject(), thrown.failure); });
    std::rethrow_exception(error);
  }
  return joined;
}

void Work::State::wait() {
  if (error) std::rethrow_exception(error);
  if (!operation) return;
  if (join_stream()) {
    progress->advance();  // nobody else may come by: what is done by now lets go of its tensors
    return;
  }
  auto moved_last = Clock::now();
  while (true) {
    const bool moved = progress->advance();
    if (error) std::rethrow_exception(error);
    if (!operation) return;
    const auto now = Clock::now();
    if (moved) moved_last = now;
    if (now - started > timeout) {
      error = caught([&] {
        communicator->fail_by_timeout(*this, std::chrono::duration_cast<std::chrono::milliseconds>(now - started));
      });
      continue;
    }
    if (moved) continue;
    flight::dump_if_requested();
    const Waiting waiting(progress->observer);
    try {
      communicator->backend->idle(now - moved_last);
    } catch (const comm::BackendFailure& thrown) {
      error = caught([&] { communicator->fail(subject(), thrown.failure); });
    }
  }
}

Work::Work(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
Work::Work(Work&&) noexcept = default;

Work& Work::operator=(Work&& other) noexcept {
  Work previous(std::move(*this));  // waits like any Work that is destroyed
  state_ = std::move(other.state_);
  return *this;
}

Work::~Work() {
  if (!state_) return;
  try {
    if (!state_->finished()) state_->wait();
  } catch (...) {  // remembered by the communicator: its next call throws it
  }
  // What streams were told to wait for may still be in flight when the last communicator goes: it goes with it.
  if (state_->joined) state_->progress.reset();
}

void Work::wait() { state_->wait(); }

void Work::keep_alive(std::shared_ptr<void> memory) {
  if (state_->operation) state_->keep_alive = std::move(memory);
}

bool Work::done() {
  state_->progress->advance();
  if (state_->error) std::rethrow_exception(state_->error);
  return !state_->operation;
}

void wait_all(std::span<Work> works) {
  for (Work& work : works) work.wait();
}

}  // namespace lockstep
