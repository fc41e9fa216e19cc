// SPDX-License-Identifier: Apache-2.0
// Instead of mpi/ in a build without MPI.
#include "lockstep/base/error.hpp"
#include "session.hpp"

namespace lockstep {

bool built_with_mpi() noexcept { return false; }

std::unique_ptr<Session> open_mpi_session(std::chrono::milliseconds) {
  throw UsageError({.what = "starting a rank",
                    .why = "an MPI launcher started this process, and this lockstep was built without MPI",
                    .fix = "start it with lockstep run, or build lockstep with LOCKSTEP_MPI=ON"});
}

}  // namespace lockstep
