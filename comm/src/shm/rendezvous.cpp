// SPDX-License-Identifier: Apache-2.0
#include "lockstep/comm/rendezvous.hpp"

#include "../topology.hpp"
#include "fd_exchange.hpp"
#include "host_world.hpp"
#include "shm_world.hpp"

namespace lockstep {

Communicator rendezvous_world(std::chrono::milliseconds timeout) {
  const comm::RankVariables place = comm::rank_variables();
  comm::shm::FdExchange exchange(place.meeting_place, place.rank, place.world_size, timeout);
  exchange.open(timeout);  // before anything that may fail here, so that the others hear of it
  std::shared_ptr<comm::shm::Arena> arena = comm::shm::make_world_arena(place.world_size);
  const comm::shm::Members all = exchange.exchange(arena->file());
  return {comm::shm::make_host_world(place.rank, std::move(arena), all), "world", timeout};
}

}  // namespace lockstep
