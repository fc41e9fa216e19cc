// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/environment.hpp"

#include <cstdlib>

namespace lockstep {

std::optional<std::string> environment_variable(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

const std::vector<EnvironmentVariable>& known_environment_variables() {
  static const std::vector<EnvironmentVariable> known{
      {"LOCKSTEP_EXIT_DIR", "folder where each rank leaves exit-RANK.json; set by `lockstep run`"},
      {"OMPI_COMM_WORLD_SIZE", "number of ranks; tells that Open MPI's mpirun started us"},
      {"OMPI_COMM_WORLD_RANK", "this process's rank under Open MPI, for messages before MPI is initialised"},
      {"OMPI_COMM_WORLD_LOCAL_RANK", "this process's rank on its host under Open MPI"},
      {"PMIX_RANK", "this process's rank under a PMIx launcher; tells that one started us (srun --mpi=pmix)"},
      {"PMI_RANK", "this process's rank under a PMI launcher; tells that one started us (MPICH, srun --mpi=pmi2)"},
      {"SLURM_STEP_ID", "tells that srun started us, rather than the batch script itself"},
      {"SLURM_PROCID", "this process's rank under srun"},
      {"SLURM_LOCALID", "this process's rank on its host under srun"},
      {"SLURM_NTASKS", "number of ranks of the SLURM job or step"},
      {"SLURM_JOB_ID", "the SLURM job; written to run.json and to messages"},
      {"SLURM_RESTART_COUNT", "how often SLURM has requeued the job; written to run.json"},
      {"TMPDIR", "folder for temporary files; /tmp when unset"},
  };
  return known;
}

}  // namespace lockstep
