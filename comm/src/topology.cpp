// SPDX-License-Identifier: Apache-2.0
#include "topology.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <functional>
#include <optional>

#include "lockstep/base/environment.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/rendezvous.hpp"
#include "lockstep/comm/session.hpp"

namespace lockstep {

// mpirun sets OMPI_COMM_WORLD_SIZE; srun with PMIx sets PMIX_RANK, with PMI-2 PMI_RANK. SLURM_PROCID alone proves
// nothing: a batch script has it too.
bool started_as_mpi_rank() {
  return environment_variable("OMPI_COMM_WORLD_SIZE") || environment_variable("PMIX_RANK") ||
         environment_variable("PMI_RANK");
}

bool started_without_mpi() {
  return !started_as_mpi_rank() && environment_variable("RANK") && environment_variable("WORLD_SIZE");
}

namespace comm {
namespace {

std::optional<int> number_in(const char* name, int least) {
  const auto text = environment_variable(name);
  if (!text) return std::nullopt;
  int value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error == std::errc{} && end == text->data() + text->size() && value >= least) return value;
  throw UsageError(
      {.what = fmt::format("environment variable {}={}", name, *text),
       .why = fmt::format("it must be a whole number, at least {}", least),
       .fix = "launchers set it; a program that is no rank of a job is started without RANK and WORLD_SIZE"});
}

// Under torchrun the id of the run and its store's address are the job's own; a restart meets anew.
std::optional<std::string> name_of_job() {
  if (const auto name = environment_variable("LOCKSTEP_RENDEZVOUS")) return name;
  const auto port = environment_variable("MASTER_PORT");
  if (!port) return std::nullopt;
  std::string name = *port;
  for (const char* const variable : {"MASTER_ADDR", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"}) {
    name += ' ' + environment_variable(variable).value_or("");
  }
  return name;
}

}  // namespace

RankVariables rank_variables() {
  const int world_size = number_in("WORLD_SIZE", 1).value_or(1);
  const int rank = number_in("RANK", 0).value_or(0);
  if (rank >= world_size) {
    throw UsageError({.what = fmt::format("environment variables RANK={} WORLD_SIZE={}", rank, world_size),
                      .why = fmt::format("ranks are 0 to {}", world_size - 1),
                      .fix = "give every rank its own number below WORLD_SIZE"});
  }
  if (const int here = number_in("LOCAL_WORLD_SIZE", 1).value_or(world_size); here != world_size) {
    throw UsageError(
        {.what = fmt::format("starting {} ranks without MPI", world_size),
         .why = fmt::format("{} of them are on this host (LOCAL_WORLD_SIZE), and without MPI all must be", here),
         .fix = "across hosts start them with MPI: mpirun --host a,b -np N PROGRAM, or srun --mpi=pmix PROGRAM"});
  }
  const auto name = name_of_job();
  if (!name && world_size > 1) {
    throw UsageError({.what = fmt::format("starting {} ranks without MPI", world_size),
                      .why = "they have RANK and WORLD_SIZE, but no name under which they meet",
                      .fix =
                          "start them with lockstep run --no-mpi or torchrun, or set LOCKSTEP_RENDEZVOUS to the same "
                          "new word on all of them"});
  }
  return {.rank = rank,
          .world_size = world_size,
          .meeting_place = fmt::format("lockstep-{}-{:016x}", geteuid(), std::hash<std::string>{}(name.value_or("")))};
}

}  // namespace comm
}  // namespace lockstep
