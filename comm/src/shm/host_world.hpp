// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "arena.hpp"
#include "fd_exchange.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::shm {

// The backend of the first communicator of ranks that have met. `arena`: ours, of make_world_arena().
[[nodiscard]] std::unique_ptr<Backend> make_host_world(int rank, std::shared_ptr<Arena> arena, const Members& all);

}  // namespace lockstep::comm::shm
