// SPDX-License-Identifier: Apache-2.0
#include "data.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "lockstep/base/error.hpp"

namespace lockstep::launchers {

void become_data_tool(std::span<char*> arguments) {
  const auto program = (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "lockstep-data").string();
  std::string name = "lockstep data";  // as its messages and its help shall call it
  std::vector<char*> argv{name.data()};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  argv.push_back(nullptr);
  ::execv(program.c_str(), argv.data());
  const auto error = errno;
  if (error == ENOENT) {
    throw UsageError({.what = "lockstep data",
                      .why = fmt::format("there is no {}", program),
                      .fix = "build or install the target lockstep_data_command, too"});
  }
  throw IoError({.what = fmt::format("start {}", program), .why = std::generic_category().message(error)});
}

}  // namespace lockstep::launchers
