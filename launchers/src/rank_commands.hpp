// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "child.hpp"

namespace lockstep::launchers {

// A job of ranks on this host that meet without MPI.
struct HostJob {
  int ranks = 1;
  std::vector<std::vector<int>> cores{};  // usable here, each with its CPUs; more ranks than that are not bound
  std::string name{};                     // under which the ranks meet
  bool on_terminal = false;               // our output
  std::filesystem::path exit_dir{};       // where ranks leave their exit records; empty: nowhere
  std::vector<std::string> program{};     // the program and its arguments, passed on as they are
};

// What to start, by rank. Pure.
[[nodiscard]] std::vector<Child> rank_commands(const HostJob& job);

// The arguments of a command that starts `child` alone, from a shell. Pure.
[[nodiscard]] std::vector<std::string> as_command(const Child& child);

}  // namespace lockstep::launchers
