// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/environment.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace lockstep {
namespace {

std::string_view name_in(std::string_view variable) { return variable.substr(0, variable.find('=')); }

}  // namespace

std::optional<std::string> environment_variable(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

std::vector<std::string> environment_with(const std::vector<std::string>& changes) {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const auto changed = [&](const std::string& change) { return name_in(change) == name_in(*variable); };
    if (std::ranges::none_of(changes, changed)) variables.emplace_back(*variable);
  }
  for (const auto& change : changes) {
    if (change.find('=') != std::string::npos) variables.push_back(change);
  }
  return variables;
}

const std::vector<EnvironmentVariable>& known_environment_variables() {
  static const std::vector<EnvironmentVariable> known{
      {"LOCKSTEP_EXIT_DIR", "folder where each rank leaves exit-RANK.json; set by `lockstep run`"},
      {"LOCKSTEP_FLIGHT_DIR",
       "folder where a rank writes its last calls when a communicator fails; else the run folder's"},
      {"LOCKSTEP_FLIGHT_SIGNAL", "set to anything: SIGUSR2 makes a rank write its last calls there at once"},
      {"LOCKSTEP_TERMINAL", "set by `lockstep run` when it writes to a terminal, so that rank 0 draws a progress bar"},
      {"LOCKSTEP_RENDEZVOUS", "name under which the ranks of a job without MPI meet; set by `lockstep run --no-mpi`"},
      {"RANK", "this process's rank in a job without MPI; set by torchrun and `lockstep run --no-mpi`"},
      {"WORLD_SIZE", "number of ranks of a job without MPI; set by the same"},
      {"LOCAL_WORLD_SIZE", "how many of them are on this host, which must be all; set by the same"},
      {"MASTER_ADDR", "set by torchrun; with the next three, the name under which ranks meet that have no other"},
      {"MASTER_PORT", "set by torchrun"},
      {"TORCHELASTIC_RUN_ID", "set by torchrun"},
      {"TORCHELASTIC_RESTART_COUNT", "set by torchrun"},
      {"LOCKSTEP_VIRTUAL_NODES",
       "divides the ranks of each host into so many nodes: a test facility, for comm.backend=nodes on one host"},
      {"OMPI_COMM_WORLD_SIZE", "number of ranks; tells that Open MPI's mpirun started us"},
      {"OMPI_COMM_WORLD_RANK", "this process's rank under Open MPI, for messages before MPI is initialised"},
      {"PMIX_RANK", "this process's rank under a PMIx launcher; tells that one started us (srun --mpi=pmix)"},
      {"PMI_RANK", "this process's rank under a PMI launcher; tells that one started us (MPICH, srun --mpi=pmi2)"},
      {"NCCL_HOSTID", "NCCL's own; told a different one for each, NCCL before 2.30 takes several ranks on one GPU"},
      {"NCCL_MULTI_RANK_GPU_ENABLE", "NCCL's own; with 1, NCCL from 2.30 on takes several ranks on one GPU"},
      {"PATH", "where `lockstep run` looks for the program and for mpirun"},
      {"TMPDIR", "folder for temporary files; /tmp when unset"},
      {"AWS_ACCESS_KEY_ID", "with the next, signs requests to s3:// data sets; without them, requests are not signed"},
      {"AWS_SECRET_ACCESS_KEY", "the same"},
      {"AWS_SESSION_TOKEN", "of temporary credentials, sent with both"},
      {"AWS_REGION", "of s3:// buckets; us-east-1 when unset"},
      {"AWS_ENDPOINT_URL", "object store behind s3:// that is not Amazon's: http(s)://host:port"},
      {"XDG_CACHE_HOME", "its folder `lockstep` caches remote data; ~/.cache when unset"},
      {"HOME", "see XDG_CACHE_HOME"},
  };
  return known;
}

}  // namespace lockstep
