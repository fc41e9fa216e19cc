// SPDX-License-Identifier: Apache-2.0
#include "tool.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <vector>

#include "lockstep/base/error.hpp"

namespace lockstep::launchers {

void become_tool(const std::string& name, std::span<char*> arguments) {
  const auto folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const auto program = (folder / ("lockstep-" + name)).string();
  std::string command = "lockstep " + name;  // as its messages and its help shall call it
  std::vector<char*> argv{command.data()};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  argv.push_back(nullptr);
  ::execv(program.c_str(), argv.data());
  const auto error = errno;
  if (error == ENOENT) {
    throw UsageError({.what = command,
                      .why = fmt::format("there is no {}", program),
                      .fix = fmt::format("build or install the target lockstep_{}_command, too", name)});
  }
  throw IoError({.what = fmt::format("start {}", program), .why = std::generic_category().message(error)});
}

}  // namespace lockstep::launchers
