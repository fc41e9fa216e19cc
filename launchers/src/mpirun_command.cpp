// SPDX-License-Identifier: Apache-2.0
#include "mpirun_command.hpp"

#include <algorithm>
#include <string_view>

#include "lockstep/base/error.hpp"

namespace lockstep::launchers {
namespace {

bool is_plain(char character) {
  const bool letter_or_digit = (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
                               (character >= '0' && character <= '9');
  return letter_or_digit || std::string_view("_@%+=:,./-").find(character) != std::string_view::npos;
}

std::string shell_quoted(const std::string& argument) {
  if (!argument.empty() && std::ranges::all_of(argument, is_plain)) return argument;
  std::string quoted = "'";
  for (const char character : argument) {
    if (character == '\'') {
      quoted += "'\\''";
    } else {
      quoted += character;
    }
  }
  return quoted + "'";
}

}  // namespace

std::vector<std::string> mpirun_command(const MpirunJob& job) {
  if (std::ranges::find(job.program, ":") != job.program.end()) {
    throw UsageError({.what = "argument \":\" of the program",
                      .why = "mpirun takes a lone colon for the start of a second program",
                      .fix = "leave it out or write it differently"});
  }
  // -q: without it Open MPI's own account of every failure, a dozen lines or more, buries the one line that says why.
  // odls_base_sigkill_timeout stays as it is: it is a flat sleep that would delay the end of every failed job. Stopping
  // goes by SIGUSR1, which mpirun forwards to the ranks.
  std::vector<std::string> command{"mpirun", "-q", "-np", std::to_string(job.ranks)};
  const auto add = [&](std::initializer_list<std::string> arguments) {
    command.insert(command.end(), arguments.begin(), arguments.end());
  };
  if (job.as_root) add({"--allow-run-as-root"});
  if (job.ranks <= job.cores) {
    add({"--bind-to", "core", "--map-by", "core"});
  } else {
    add({"--oversubscribe", "--bind-to", "none"});
  }
  if (!job.exit_dir.empty()) add({"-x", "LOCKSTEP_EXIT_DIR=" + job.exit_dir.string()});
  if (job.on_terminal) add({"-x", "LOCKSTEP_TERMINAL=1"});
  command.insert(command.end(), job.program.begin(), job.program.end());
  return command;
}

std::string shell_line(const std::vector<std::string>& command) {
  std::string line;
  for (const auto& argument : command) {
    if (!line.empty()) line += ' ';
    line += shell_quoted(argument);
  }
  return line;
}

}  // namespace lockstep::launchers
