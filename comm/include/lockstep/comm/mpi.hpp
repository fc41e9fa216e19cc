// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <chrono>

#include "lockstep/comm/communicator.hpp"

namespace lockstep {

// Collective. A communicator over a duplicate of `comm`, for programs that run MPI themselves (MPI_THREAD_FUNNELED or
// more; all calls from the thread that initialised MPI). Keeps the order of ranks. The duplicate is freed by close(),
// or when MPI is finalized.
[[nodiscard]] Communicator adopt(MPI_Comm comm, std::chrono::milliseconds timeout = std::chrono::seconds(120));

}  // namespace lockstep
