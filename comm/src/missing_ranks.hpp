// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lockstep/comm/backend.hpp"

// What the message of a timeout says of the ranks that it waits for.
namespace lockstep::comm {

// "rank 3 (n07)", "ranks 1 (n07), 3 (n08)".
[[nodiscard]] std::string names_of(const std::vector<int>& ranks, const std::vector<Peer>& peers);

// The ranks that are not `missing` (ascending), in few words: "0-2, 5".
[[nodiscard]] std::string others_than(const std::vector<int>& missing, int world_size);

inline constexpr std::string_view kFixOfMissingRanks =
    "look at what that rank does (stopped, swapping, waiting for data, or a branch that skips this call); raise "
    "comm.timeout_seconds if it is only slow";

}  // namespace lockstep::comm
