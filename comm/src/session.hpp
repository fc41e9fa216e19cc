// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lockstep/comm/session.hpp"

namespace lockstep {

// Of a build with MPI; throws UsageError in one without.
[[nodiscard]] std::unique_ptr<Session> open_mpi_session(std::chrono::milliseconds timeout);

}  // namespace lockstep
