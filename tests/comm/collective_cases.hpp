// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lockstep/comm/communicator.hpp"

namespace lockstep::testing {

// One behaviour of Communicator that every backend must show at every world size. `check` runs on each rank.
struct CollectiveCase {
  std::string name;
  void (*check)(Communicator& world);
};

// One table of expected values serves all backends.
[[nodiscard]] const std::vector<CollectiveCase>& collective_cases();

}  // namespace lockstep::testing
