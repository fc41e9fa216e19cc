// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lockstep/comm/communicator.hpp"

namespace lockstep::testing {

// One behaviour of training that every backend must show at every world size. `check` runs on each rank.
struct RuntimeCase {
  std::string name;
  void (*check)(Communicator& world);
};

[[nodiscard]] std::vector<RuntimeCase> determinism_cases();
[[nodiscard]] std::vector<RuntimeCase> gradient_cases();
[[nodiscard]] std::vector<RuntimeCase> misuse_cases();
[[nodiscard]] std::vector<RuntimeCase> embedded_cases();

// All of them.
[[nodiscard]] std::vector<RuntimeCase> runtime_cases();

}  // namespace lockstep::testing
