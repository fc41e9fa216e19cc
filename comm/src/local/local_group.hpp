// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
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
};

// One collective of one group: who has come, with which memory.
struct LocalExchange {
  std::vector<const Request*> requests;  // by rank; null: not arrived. Guarded by the domain's mutex until all arrived
  std::vector<char> shared;              // by rank: its share is done
  int arrived = 0;
  int finished = 0;
};

// The ranks of one communicator over the backend `local`.
struct LocalGroup {
  LocalGroup(std::shared_ptr<LocalDomain> shared, int size) : domain(std::move(shared)), world_size(size) {}
  std::shared_ptr<LocalDomain> domain;
  int world_size;
  std::map<std::uint64_t, std::shared_ptr<LocalExchange>> exchanges;  // by sequence; guarded by domain->mutex
  std::vector<std::shared_ptr<LocalGroup>> duplicates;                // guarded by domain->mutex
};

// The backend of rank `rank` of `group`.
[[nodiscard]] std::unique_ptr<Backend> make_local_backend(std::shared_ptr<LocalGroup> group, int rank);

}  // namespace lockstep::comm
