// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <vector>

#include "lockstep/comm/communicator.hpp"

namespace lockstep::testing {

// Starts processes that are ranks over shm and end with what `body` returns, or, with the text on standard error, with
// 1 if it throws. Returns their process ids, by rank; the caller waits for them. Not to be called while threads run.
[[nodiscard]] std::vector<pid_t> start_process_ranks(int ranks, const std::function<int(Communicator& world)>& body,
                                                     std::chrono::milliseconds timeout = std::chrono::seconds(20));

}  // namespace lockstep::testing
