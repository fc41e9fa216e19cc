// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

#include "lockstep/comm/communicator.hpp"

namespace lockstep {

namespace detail {
void run_local_ranks(int world_size, void (*call)(void* body, Communicator& world), void* body,
                     std::chrono::milliseconds timeout);
}

// Local. Runs `body(Communicator& world)` on `world_size` threads, each a rank with its communicator "world" over the
// backend `local`, and returns when all have ended. If some throw, the others' waits end with PeerDied, and the first
// cause is rethrown here.
template <class Body>
void run_local_ranks(int world_size, Body body, std::chrono::milliseconds timeout = std::chrono::seconds(120)) {
  detail::run_local_ranks(
      world_size, [](void* called, Communicator& world) { (*static_cast<Body*>(called))(world); }, &body, timeout);
}

}  // namespace lockstep
