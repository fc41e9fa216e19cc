// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string_view>

#include "comm/shm_threads.hpp"
#include "lockstep/comm/local.hpp"

namespace lockstep::testing {

// Runs `body(Communicator& world)` on threads that are ranks over `backend`, "local" or "shm".
template <class Body>
void on_threads(std::string_view backend, int world_size, const Body& body,
                std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
  if (backend == "shm") return on_shm_threads(world_size, body, timeout);
  run_local_ranks(world_size, body, timeout);
}

}  // namespace lockstep::testing
