// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace lockstep::comm {

// What the environment says of a rank that was started without MPI.
struct RankVariables {
  int rank = 0;
  int world_size = 1;
  std::string meeting_place{};  // equal on the ranks of a job, and another one for every job
};

// Throws UsageError where variables are missing, are no such numbers, or tell of ranks on several hosts.
[[nodiscard]] RankVariables rank_variables();

}  // namespace lockstep::comm
