// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "libraries.hpp"
#include "lockstep/comm/backend.hpp"
#include "pulse.hpp"

namespace lockstep::comm::gpu {

using Clock = std::chrono::steady_clock;

// A call that was queued and is not known to be done.
struct QueuedCall {
  Call call{};
  std::string label{};
  Clock::time_point queued{};
  std::chrono::milliseconds timeout{};
  std::shared_ptr<EventHandle> done{};
  std::uint64_t number = 0;  // of this communicator's collectives, from 1 on; of a message: of the last before it
};

// What the thread that calls and the watchdog share of one NCCL communicator. Owned by both. A call of NCCL that hangs
// outlives it on a thread that nobody waits for.
class WatchedComm {
 public:
  // `pulse_on_watchdog`: the pulse's host backend may be used by any thread. Borrows the libraries.
  WatchedComm(const Libraries& libraries, NcclComm comm, std::unique_ptr<Pulse> pulse, bool pulse_on_watchdog,
              std::string name);
  WatchedComm(const WatchedComm&) = delete;
  WatchedComm& operator=(const WatchedComm&) = delete;
  ~WatchedComm();

  // By the calling thread.
  void note(const Call& call);   // tells the peers; before NCCL is called, which may wait for a peer that calls another
  void queued(QueuedCall call);  // after note(): is looked after from now on
  void throw_if_failed() const;  // BackendFailure, what failed first
  // Throws like it. While the lock is held nobody else calls NCCL about comm(): ncclCommGetAsyncError takes a finished
  // launch off a non-blocking communicator, which another thread must not do in the middle of a call, and an abort
  // frees it. May be taken again by who has it.
  [[nodiscard]] std::unique_lock<std::recursive_timed_mutex> enter();
  [[nodiscard]] bool failed() const noexcept { return failed_.load(std::memory_order_acquire); }
  [[nodiscard]] bool done(std::uint64_t number);                      // retires what is done, in order
  [[nodiscard]] std::vector<int> behind(std::uint64_t number) const;  // ranks that are not known to have called it
  [[nodiscard]] std::vector<int> behind(const Call& call) const;
  // Where the pulse needs the calling thread: a look, without waiting. What it finds, throw_if_failed() throws.
  void advance_pulse();
  // First one wins; revokes or aborts like one that the watchdog finds, and returns when that is done.
  void fail(const Failure& failure) noexcept;
  // Collective. Returns when every rank has called it; from then on comm() is the caller's alone, to be destroyed.
  // Throws BackendFailure: what failed first, a rank that did not come.
  void close(std::chrono::milliseconds timeout);

  // By the watchdog, every kPeriod; by tests with times of their own. Looks at the pulse, async errors, the oldest
  // call's age. Returns a failure when it is the first; give_up() is the caller's to call.
  [[nodiscard]] std::optional<Failure> look(Clock::time_point now);
  [[nodiscard]] bool hurries() const noexcept { return hurries_.load(std::memory_order_relaxed); }  // look again soon
  // What has to happen after a failure, once, in this order: `dump`, the peers are told, revoke (≥ 2.28.7) or abort.
  // Calls of NCCL that may hang run on a thread of their own; if one has not returned within `abort_deadline`,
  // `hard_exit`. Returns when all that is done, whoever does it. A pulse that needs the calling thread tells the peers
  // when that thread comes by.
  void give_up(const Failure& failure);

  [[nodiscard]] NcclComm comm() const noexcept { return comm_; }
  // Usable for shrink only; else a communicator that gave up was aborted, and is no more.
  [[nodiscard]] bool revoked() const noexcept { return revoked_.load(std::memory_order_acquire); }

  static constexpr std::chrono::milliseconds kPeriod = Pulse::kPeriod;
  static constexpr std::chrono::milliseconds kAbortDeadline{5000};
  // How this process is left when even an abort hangs, and how the flight recorder is written; replaced by tests before
  // the communicator is watched.
  struct Exits {
    std::function<void()> dump;
    std::function<void(const std::string& why)> hard_exit;
    std::chrono::milliseconds abort_deadline = kAbortDeadline;
  };
  Exits exits;

 private:
  enum class Caller { calling_thread, watchdog };
  void give_up(const Failure& failure, Caller caller);
  bool note_failure(const Failure& failure);  // whether it is the first
  void tell_peers(Caller caller);
  void stop_nccl();
  [[nodiscard]] std::optional<Failure> drive_pulse(Clock::time_point now);
  [[nodiscard]] std::optional<Failure> ask_nccl();
  [[nodiscard]] std::optional<Failure> retire(Clock::time_point now);
  [[nodiscard]] std::optional<Failure> find_overdue(Clock::time_point now) const;

  const Libraries& libraries_;
  const NcclComm comm_;
  const bool pulse_on_watchdog_;
  const std::string name_;
  const std::unique_ptr<Pulse> pulse_;
  std::atomic<bool> failed_{false}, revoked_{false}, hurries_{false};
  std::mutex driving_;                       // whoever drives the pulse
  Clock::time_point driven_{};               // guarded by driving_
  bool peers_told_ = false;                  // guarded by driving_
  std::recursive_timed_mutex asking_;        // whoever calls NCCL about comm_
  bool left_ = false;                        // guarded by asking_: comm_ is the caller's alone
  std::mutex retiring_;                      // whoever takes calls that are done from in_flight_
  mutable std::mutex mutex_;                 // held for moments only: the thread that calls takes it
  std::deque<QueuedCall> in_flight_;         // guarded by mutex_; in order
  std::optional<Failure> failure_;           // guarded by mutex_
  std::uint64_t completed_ = 0;              // guarded by mutex_
  Clock::time_point retired_{};              // guarded by mutex_: when a call was last seen done
  bool gives_up_ = false, gave_up_ = false;  // guarded by mutex_
  std::condition_variable changed_;          // gave_up_
};

// The thread `lockstep-watchdog`, which looks after all NCCL communicators of a process.
class Watchdog {
 public:
  Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog();
  void watch(std::weak_ptr<WatchedComm> comm);

 private:
  void run();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::weak_ptr<WatchedComm>> watched_;  // guarded by mutex_
  bool stop_ = false;                                // guarded by mutex_
  std::thread thread_;                               // last: it stops first
};

}  // namespace lockstep::comm::gpu
