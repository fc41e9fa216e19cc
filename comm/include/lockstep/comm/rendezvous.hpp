// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

#include "lockstep/comm/communicator.hpp"

// Ranks of one host that meet without MPI. A launcher (torchrun, `lockstep run --no-mpi`) or a person starts each with
//   RANK, WORLD_SIZE      its number, and how many there are
//   LOCKSTEP_RENDEZVOUS   any name that this job has for itself; under torchrun its own variables do
// and, as torchrun does, LOCAL_WORLD_SIZE, if not all of them are on this host.
namespace lockstep {

// Whether RANK and WORLD_SIZE say that this process is a rank, and MPI's variables do not.
[[nodiscard]] bool started_without_mpi();

// Collective. The communicator "world" of these ranks, over shared memory; each may come as late as `timeout`. Throws
// UsageError for variables that do not fit together or tell of several hosts, TimeoutError naming the ranks that did
// not come, PeerDied naming one that ended before all had met.
[[nodiscard]] Communicator rendezvous_world(std::chrono::milliseconds timeout = std::chrono::seconds(120));

}  // namespace lockstep
