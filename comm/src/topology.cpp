// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/environment.hpp"
#include "lockstep/comm/mpi_session.hpp"

namespace lockstep {

// mpirun sets OMPI_COMM_WORLD_SIZE; srun with PMIx sets PMIX_RANK, with PMI-2 PMI_RANK. SLURM_PROCID alone proves
// nothing: a batch script has it too.
bool started_as_mpi_rank() {
  return environment_variable("OMPI_COMM_WORLD_SIZE") || environment_variable("PMIX_RANK") ||
         environment_variable("PMI_RANK");
}

}  // namespace lockstep
