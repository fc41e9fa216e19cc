// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "flight_ring.hpp"

namespace lockstep::flight {

struct NotedFailure {
  comm::FailureKind kind = comm::FailureKind::native;
  std::string why{};
  TimePoint time{};
};

// A communicator that was not made from another one, with all that were made from it: a job, as far as one process can
// tell. Its ranks are those that files are written for.
struct Root {
  std::string id{};
  int owner = 0;  // whose calls these are: kProcess, or the rank, if ranks are threads of this process
  int rank = 0;
  int world_size = 1;
  std::vector<comm::Peer> peers{};
  std::filesystem::path written_to{};  // guarded by the registry's lock: the folder of this rank's file
};

// A communicator, as this rank's file tells of it.
struct Group {
  std::uint32_t number = 0;  // in this process
  std::shared_ptr<Root> root{};
  std::string id{};  // the same on all of its ranks, and on no others
  std::string name{};
  std::string backend{};
  int rank = 0;
  int world_size = 1;
  std::optional<NotedFailure> failure{};      // guarded by the registry's lock
  std::uint64_t closed_at = 0;                // guarded by the registry's lock: recorded() when found closed
  std::atomic<bool> open{true};               // until its Communicator is destroyed
  std::atomic<std::uint64_t> collectives{0};  // called so far; tells that one was never called when the ring forgot it

  Mark record(const comm::Call& call, std::string_view label, TimePoint started) noexcept {
    if (!comm::is_between_two(call.kind)) collectives.store(call.sequence + 1, std::memory_order_relaxed);
    return flight::record(number, call, label, started);
  }
};

// Local. `parent` is null for a communicator that is not made from another one; else `branch` says which of those made
// from `parent` this is, alike on all of its ranks.
[[nodiscard]] std::shared_ptr<Group> add_group(const comm::Backend& backend, std::string name, const Group* parent,
                                               std::string_view branch);

// Local. Notes why `group` failed and writes the files. Returns what the error should tell the user to do about it,
// empty if there is no folder.
[[nodiscard]] std::string note_failure(Group& group, const comm::Failure& failure) noexcept;

// Local. Called while waiting: see request_flight_dump().
void dump_if_requested() noexcept;

// Local. Starts to listen for SIGUSR2 if LOCKSTEP_FLIGHT_SIGNAL is set.
void listen_if_asked();

// Local. For request_flight_dump(): writes the files, or says on standard error why not.
void dump_as_requested() noexcept;

// The text of one rank's file. `groups`: those of that rank, at least one.
[[nodiscard]] std::string dump_text(std::string_view reason, const std::vector<const Group*>& groups,
                                    const std::vector<Entry>& entries);

}  // namespace lockstep::flight
