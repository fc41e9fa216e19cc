// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <tuple>
#include <vector>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm {

// What all groups of one set of threads share: when one rank fails, all waits of all its groups end.
struct LocalDomain {
  std::mutex mutex;
  std::condition_variable changed;
  std::uint64_t changes = 0;       // guarded by mutex; counts what a waiting rank might wait for
  std::optional<Failure> failure;  // guarded by mutex; the first
  int working = 0;                 // guarded by mutex; ranks inside a data phase, touching their peers' memory
  std::atomic<bool> failure_claimed{false};

  void notify_locked() {
    ++changes;
    changed.notify_all();
  }

  void throw_if_failed(std::unique_lock<std::mutex>& lock) {
    if (!failure) return;
    // A peer may still be writing to our memory, which the caller frees next; after a failure nobody starts again.
    changed.wait(lock, [&] { return working == 0; });
    throw BackendFailure{*failure};
  }

  // Fails all ranks, this one here.
  [[noreturn]] void fail(const Failure& first) {
    failure = first;
    notify_locked();
    throw BackendFailure{first};
  }

  // A data phase, without the lock.
  template <class Body>
  void work(std::unique_lock<std::mutex>& lock, Body body) {
    ++working;
    lock.unlock();
    body();
    lock.lock();
    --working;
    notify_locked();
  }
};

struct LocalExchange;  // local_collective.hpp
struct LocalMessage;   // local_message.hpp
struct LocalSplit;     // local_backend.cpp

// The ranks of one communicator over the backend `local`. The maps hold what some have come to and others have not;
// guarded by domain->mutex.
struct LocalGroup {
  LocalGroup(std::shared_ptr<LocalDomain> shared, int size) : domain(std::move(shared)), world_size(size) {}
  std::shared_ptr<LocalDomain> domain;
  int world_size;
  std::map<std::uint64_t, std::shared_ptr<LocalExchange>> exchanges;  // by sequence
  std::map<std::tuple<int, int, std::uint64_t>, std::shared_ptr<LocalMessage>>
      messages;                                                 // by sender, receiver, sequence
  std::map<std::uint64_t, std::shared_ptr<LocalSplit>> splits;  // by their number
};

// The backend of rank `rank` of `group`.
[[nodiscard]] std::unique_ptr<Backend> make_local_backend(std::shared_ptr<LocalGroup> group, int rank);

}  // namespace lockstep::comm
