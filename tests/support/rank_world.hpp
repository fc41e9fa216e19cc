// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lockstep/comm/communicator.hpp"

namespace lockstep::testing {

// What the launcher allows: "mpi", "shm" and "nodes" (two, unless LOCKSTEP_VIRTUAL_NODES says otherwise), or, where it
// was not MPI's, "shm" alone.
[[nodiscard]] std::vector<std::string> backends();

// Collective where it is the first call for `backend`. The communicator of all ranks that a launcher started over
// `backend`, for tests linked with rank_main.cpp. Without MPI that of "mpi" is shm, too, and there are no nodes.
[[nodiscard]] Communicator& world(std::string_view backend = "mpi");

}  // namespace lockstep::testing
