// SPDX-License-Identifier: Apache-2.0
// The end of a communicator on a GPU.
#include <fmt/format.h>

#include <utility>

#include "watchdog.hpp"

namespace lockstep::comm::gpu {
namespace {

// What a thread that may never return shares with the one that waits for it.
struct NativeCall {
  std::mutex mutex;
  std::condition_variable returned;
  const char* name = "";  // guarded by mutex, like all below
  bool done = false;
  bool revoked = false;
};

bool accepted(NcclStatus status) { return status == NcclStatus::success || status == NcclStatus::in_progress; }

// A call on a non-blocking communicator may go on behind our back.
void await_progress(NcclApi& nccl, NcclComm comm) {
  NcclStatus state = NcclStatus::success;
  while (nccl.async_error(comm, state) == NcclStatus::success && state == NcclStatus::in_progress)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

// Whether NCCL took it.
bool revoke(NcclApi& nccl, NcclComm comm) {
  if (nccl.versions().loaded < kVersionWithRevoke || !accepted(nccl.revoke(comm))) return false;
  await_progress(nccl, comm);
  return true;
}

void stop(NcclApi& nccl, NcclComm comm, NativeCall& call) {
  const auto note = [&](const char* name, bool revoked, bool done) {
    const std::lock_guard lock(call.mutex);
    call.name = name;
    call.revoked = revoked;
    call.done = done;
    if (done) call.returned.notify_all();
  };
  note("ncclCommRevoke", false, false);
  if (revoke(nccl, comm)) return note("ncclCommRevoke", true, true);
  note("ncclCommAbort", false, false);
  static_cast<void>(nccl.abort(comm));  // its error would tell nothing that the first failure does not
  note("ncclCommAbort", false, true);
}

}  // namespace

bool WatchedComm::note_failure(const Failure& failure) {
  const std::lock_guard lock(mutex_);
  if (failure_) return false;
  failure_ = failure;
  failed_.store(true, std::memory_order_release);
  return true;
}

void WatchedComm::give_up(const Failure& failure) { give_up(failure, Caller::watchdog); }

void WatchedComm::give_up(const Failure& failure, Caller caller) {
  note_failure(failure);
  std::unique_lock lock(mutex_);
  if (std::exchange(gives_up_, true)) {
    changed_.wait(lock, [this] { return gave_up_; });
    lock.unlock();
    return tell_peers(caller);  // who gave up may have been the wrong thread for it
  }
  lock.unlock();
  exits.dump();
  tell_peers(caller);
  stop_nccl();
  lock.lock();
  gave_up_ = true;
  changed_.notify_all();
}

void WatchedComm::tell_peers(Caller caller) {
  if (caller == Caller::watchdog && !pulse_on_watchdog_) return;
  Failure first;
  {
    const std::lock_guard lock(mutex_);
    first = *failure_;
  }
  const std::lock_guard lock(driving_);
  if (!std::exchange(peers_told_, true)) pulse_->fail(first);
}

void WatchedComm::stop_nccl() {
  // Whoever calls NCCL now sees the failure and leaves it; one that is stuck in there is what an abort is for.
  std::unique_lock calling(asking_, exits.abort_deadline);
  if (std::exchange(left_, true)) return;  // closed: the communicator is no longer ours
  if (calling) calling.unlock();
  const auto call = std::make_shared<NativeCall>();
  std::thread([call, nccl = libraries_.nccl, comm = comm_] { stop(*nccl, comm, *call); }).detach();
  std::unique_lock lock(call->mutex);
  const bool returned = call->returned.wait_for(lock, exits.abort_deadline, [&] { return call->done; });
  if (returned) return revoked_.store(call->revoked, std::memory_order_release);
  const std::string hanging = call->name;
  lock.unlock();
  std::string first;
  {
    const std::lock_guard failure_lock(mutex_);
    first = failure_->why;
  }
  exits.hard_exit(fmt::format("{} ({}) has not returned after {:.1f} s; the communicator had failed: {}", hanging,
                              name_, exits.abort_deadline.count() / 1000.0, first));
}

}  // namespace lockstep::comm::gpu
