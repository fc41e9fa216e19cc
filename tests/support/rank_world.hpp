// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "lockstep/comm/communicator.hpp"

namespace lockstep::testing {

// Collective where it is the first call for `backend`. The communicator of all ranks that mpirun started over
// `backend`, "mpi", "shm" or "nodes" (two, unless LOCKSTEP_VIRTUAL_NODES says otherwise), for tests linked with
// rank_main.cpp.
[[nodiscard]] Communicator& world(std::string_view backend = "mpi");

}  // namespace lockstep::testing
