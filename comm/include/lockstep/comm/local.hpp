// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>

#include "lockstep/comm/communicator.hpp"

namespace lockstep {

// Local. Runs `body` on `world_size` threads, each a rank with its communicator "world" over the backend `local`, and
// returns when all have ended. If some throw, the others' waits end with PeerDied, and the first cause is rethrown
// here.
void run_local_ranks(int world_size, const std::function<void(Communicator&)>& body,
                     std::chrono::milliseconds timeout = std::chrono::seconds(120));

}  // namespace lockstep
