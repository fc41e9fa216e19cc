// SPDX-License-Identifier: Apache-2.0
#include "rank_commands.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace lockstep::launchers {

std::vector<Child> rank_commands(const HostJob& job) {
  const bool bound = job.ranks <= static_cast<int>(job.cores.size());
  std::vector<Child> children;
  for (int rank = 0; rank < job.ranks; ++rank) {
    // Without those of an MPI launcher around us, or the ranks would take themselves for its.
    std::vector<std::string> environment{"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"};
    environment.push_back(fmt::format("RANK={}", rank));
    environment.push_back(fmt::format("LOCAL_RANK={}", rank));
    environment.push_back(fmt::format("WORLD_SIZE={}", job.ranks));
    environment.push_back(fmt::format("LOCAL_WORLD_SIZE={}", job.ranks));
    environment.push_back("LOCKSTEP_RENDEZVOUS=" + job.name);
    if (!job.exit_dir.empty()) environment.push_back("LOCKSTEP_EXIT_DIR=" + job.exit_dir.string());
    if (job.on_terminal) environment.push_back("LOCKSTEP_TERMINAL=1");
    // Not SIGTERM: it means "save", and a rank that hangs would stay.
    children.push_back({.command = job.program,
                        .environment = std::move(environment),
                        .cpus = bound ? job.cores[static_cast<std::size_t>(rank)] : std::vector<int>{},
                        .signal_if_we_die = SIGKILL,
                        .outlives_its_reader = true});  // a closed terminal must not cost the checkpoint
  }
  return children;
}

std::vector<std::string> as_command(const Child& child) {
  std::vector<std::string> command{"env"};
  for (const auto& change : child.environment) {
    if (change.find('=') == std::string::npos) command.push_back("-u");
    command.push_back(change);
  }
  if (!child.cpus.empty())
    command.insert(command.end(), {"taskset", "-c", fmt::format("{}", fmt::join(child.cpus, ","))});
  command.insert(command.end(), child.command.begin(), child.command.end());
  return command;
}

}  // namespace lockstep::launchers
