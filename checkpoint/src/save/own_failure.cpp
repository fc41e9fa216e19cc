// SPDX-License-Identifier: Apache-2.0
#include "save/own_failure.hpp"

#include <fmt/format.h>

#include "failure.hpp"

namespace lockstep {

void OwnFailure::add(const std::exception& error) {
  if (none()) text_ = failure_text(error);
}

std::string OwnFailure::agreed(Communicator& world) const {
  std::int64_t failed_rank = none() ? world.world_size() : world.rank();
  world.all_reduce({&failed_rank, 1, DType::int64}, ReduceOp::min).wait();
  if (failed_rank == world.world_size()) return {};
  return world.broadcast(none() ? std::string() : fmt::format("[{}] {}", world.who(), text_),
                         static_cast<int>(failed_rank));
}

void refuse_second_save(std::int64_t step, std::int64_t earlier) {
  throw UsageError({.what = fmt::format("save step {}", step),
                    .why = fmt::format("the save of step {} is in flight", earlier),
                    .fix = "call finish() first"});
}

}  // namespace lockstep
