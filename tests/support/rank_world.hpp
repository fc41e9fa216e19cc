// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lockstep/comm/communicator.hpp"

namespace lockstep::testing {

// The communicator of all ranks that mpirun started, for tests linked with rank_main.cpp.
[[nodiscard]] Communicator& world();

}  // namespace lockstep::testing
