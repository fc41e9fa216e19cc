// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lockstep::launchers {

struct MpirunJob {
  int ranks = 1;
  int cores = 1;                       // usable here: more ranks than that are not bound
  bool on_terminal = false;            // our output: ranks see only mpirun's pipes
  bool as_root = false;                // Open MPI refuses root unless told
  std::filesystem::path exit_dir{};    // where ranks leave their exit records; empty: nowhere
  std::vector<std::string> program{};  // the program and its arguments, passed on as they are
};

// The arguments of mpirun, "mpirun" first. Pure. Throws UsageError for a program argument that mpirun would not pass
// on.
[[nodiscard]] std::vector<std::string> mpirun_command(const MpirunJob& job);

// `command` as a line that a POSIX shell reads back as the same arguments. Pure.
[[nodiscard]] std::string shell_line(const std::vector<std::string>& command);

}  // namespace lockstep::launchers
