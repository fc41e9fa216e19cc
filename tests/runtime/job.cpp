// SPDX-License-Identifier: Apache-2.0
#include "runtime/job.hpp"

#include <ATen/Parallel.h>

#include <mutex>

#include "lockstep/comm/local.hpp"
#include "turns.hpp"

namespace lockstep::testing {

SharedFolder::SharedFolder(Communicator& world) {
  if (world.rank() == 0) own_.emplace();
  path_ = world.broadcast(own_ ? own_->path().string() : "", 0);
}

Job::Job(Communicator& world, const RuntimeOptions& options) : options_(options) {
  OptionList list;
  options_.describe(list);
  runtime_.emplace(world.duplicate("world"), options_, list);
  world.barrier();  // all have opened their logs: from now on rank 0 may remove the folder
}

void run_ranks_in_turn(int world_size, const std::function<void(Communicator& world)>& body) {
  std::mutex turn;
  run_local_ranks(world_size, [&](Communicator& world) {
    const TakeTurns turns(world, turn);
    at::set_num_threads(1);  // of this thread
    body(world);
  });
}

}  // namespace lockstep::testing
