// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lockstep/comm/communicator.hpp"

namespace lockstep::testing {

// What the launcher allows: "mpi" and "shm", or, where it was not MPI's, "shm" alone.
[[nodiscard]] std::vector<std::string> backends();

// The communicator of all ranks that a launcher started over `backend`, for tests linked with rank_main.cpp. Without
// MPI both are shm.
[[nodiscard]] Communicator& world(std::string_view backend = "mpi");

}  // namespace lockstep::testing
