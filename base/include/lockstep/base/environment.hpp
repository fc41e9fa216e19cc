// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lockstep {

// The only place that reads environment variables (docs/environment.md lists them).
// The value of `name`, or nothing when unset or empty.
[[nodiscard]] std::optional<std::string> environment_variable(const char* name);

// This process's environment as NAME=VALUE, with `changes`: NAME=VALUE sets one, NAME alone leaves it out.
[[nodiscard]] std::vector<std::string> environment_with(const std::vector<std::string>& changes);

struct EnvironmentVariable {
  std::string name;
  std::string meaning;
};

// Every variable that lockstep reads, in the order of docs/environment.md; `lockstep info` prints them.
[[nodiscard]] const std::vector<EnvironmentVariable>& known_environment_variables();

}  // namespace lockstep
