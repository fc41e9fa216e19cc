// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
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

// Its parts beside the reductions.
[[nodiscard]] std::vector<CollectiveCase> move_cases();
[[nodiscard]] std::vector<CollectiveCase> message_cases();
[[nodiscard]] std::vector<CollectiveCase> split_cases();

// 113 floats are more than a header of mpi carries inline.
inline constexpr std::int64_t kSizes[] = {0, 1, 7, 113, 5000, 70'001};

}  // namespace lockstep::testing
