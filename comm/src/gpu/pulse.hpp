// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::gpu {

// What a rank's calls on a device look like from outside.
struct Standing {
  std::uint64_t called = 0;     // collectives handed to the stream so far
  std::uint64_t completed = 0;  // of them done on the device, as far as this rank has looked
};

// The ranks of one device communicator tell each other over the host, in a round of all_gather, which calls they have
// queued since the last round. A device cannot compare calls before it moves data; this names a mismatch, a straggler
// and a dead rank within a round, whatever the device does.
//
// Driven by whoever may use the host backend: the watchdog thread over local and shm, the thread that called MPI_Init
// over mpi and nodes. note() and completed() come from threads that call collectives.
class Pulse {
 public:
  explicit Pulse(std::unique_ptr<Backend> host);
  Pulse(const Pulse&) = delete;
  Pulse& operator=(const Pulse&) = delete;
  ~Pulse();  // waits for nobody

  static constexpr std::chrono::milliseconds kPeriod{100};  // from the beginning of one round to that of the next

  void note(const Call& call);           // queued now, in order
  void completed(std::uint64_t number);  // so many collectives are done
  // This rank will not call any more. Rounds go on until all ranks have said so; then finished() is true.
  void say_goodbye();
  [[nodiscard]] bool finished() const;

  // By the driving thread. Begins a round, or goes on with the one in flight, without waiting for a peer. `waited`:
  // since the last call. What peers called differently is returned once, on all ranks in the same round, naming two
  // ranks and both calls. Throws BackendFailure: a peer died or gave up.
  [[nodiscard]] std::optional<Failure> advance(std::chrono::nanoseconds waited);
  // By the driving thread. More than fits in one round is to be told, or this rank leaves: advance() again soon.
  [[nodiscard]] bool hurries() const;
  // By the driving thread: tells the peers that this rank gives up. No round follows.
  void fail(const Failure& failure) noexcept;

  // By rank, of the last round that ended.
  [[nodiscard]] std::vector<Standing> standings() const;
  [[nodiscard]] const Backend& host() const noexcept { return *host_; }

 private:
  struct Record;  // what is exchanged
  struct Round;   // an exchange in flight, with its memory
  struct Noted {
    Call call{};
    int rank = 0;
  };
  void begin_round();
  [[nodiscard]] bool move_round(std::chrono::nanoseconds waited);
  [[nodiscard]] std::optional<Failure> end_round();
  [[nodiscard]] std::optional<Failure> compare(const std::vector<Record>& records);
  [[nodiscard]] std::optional<Failure> compare(int rank, const Call& call);
  [[nodiscard]] std::optional<Failure> compare_message(int rank, const Call& call);
  [[nodiscard]] std::optional<Failure> find_uncalled(const std::vector<Record>& records) const;

  std::unique_ptr<Backend> host_;
  mutable std::mutex mutex_;
  std::deque<Call> unsent_;                  // guarded by mutex_
  Standing own_;                             // guarded by mutex_
  std::vector<Standing> standings_;          // guarded by mutex_
  bool leaving_ = false, finished_ = false;  // guarded by mutex_
  // Of the driving thread:
  std::deque<Noted> first_calls_;        // collectives that some ranks have called and some have not: the first rank's
  std::uint64_t called_by_all_ = 0;      // collectives before those
  std::vector<std::uint64_t> compared_;  // by rank: its collectives that were compared
  std::map<std::pair<int, int>, std::deque<Noted>> unmet_messages_;  // by sender and receiver: what one of them called
  std::unique_ptr<Round> round_;
  std::uint64_t rounds_ = 0;
  std::chrono::nanoseconds since_begun_{kPeriod}, looked_at_peers_{};
  bool backlog_ = false, over_ = false;
};

}  // namespace lockstep::comm::gpu
