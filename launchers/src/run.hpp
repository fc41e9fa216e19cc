// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lockstep::launchers {

struct RunOptions {
  std::optional<int> ranks{};          // default: one a usable core
  bool dry_run = false;                // only print what would be started
  bool no_mpi = false;                 // start the ranks ourselves
  std::vector<std::string> program{};  // and its arguments
};

// `lockstep run`: prints and runs the mpirun line, or starts the ranks itself; then names the first cause of a failure.
// Returns the exit code. Throws UsageError for what cannot be started.
int run(const RunOptions& options);

}  // namespace lockstep::launchers
