// SPDX-License-Identifier: Apache-2.0
#include "save/save_progress.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "lockstep/comm/backend.hpp"

namespace lockstep {
namespace {

constexpr std::int64_t kGivesUp = -2;  // rank 0's

}  // namespace

SaveProgress::State SaveProgress::exchange(Communicator& world, std::int64_t own, bool may_give_up) {
  if (may_give_up && world.rank() == 0 && Clock::now() - moved_ > timeout_) own = kGivesUp;
  std::vector<std::int64_t> told(static_cast<std::size_t>(world.world_size()));
  world.all_gather(told.data(), {&own, 1, DType::int64}).wait();
  if (told[0] == kGivesUp) return State::stuck;
  if (told != told_) moved_ = Clock::now();
  told_ = std::move(told);
  const bool done = std::ranges::all_of(told_, [](std::int64_t each) { return each == kDone; });
  return done ? State::done : State::at_work;
}

void SaveProgress::begin_anew() {
  told_.clear();
  moved_ = Clock::now();
}

std::string SaveProgress::stuck_text(const Communicator& world, std::string_view doing) const {
  std::vector<std::string> ranks;
  for (std::size_t rank = 0; rank < told_.size(); ++rank) {
    if (told_[rank] != kDone) ranks.push_back(fmt::format("rank {} ({}), {}", rank, world.peers()[rank].host, doing));
  }
  return fmt::format("the disk has not moved for {} s: {}", static_cast<double>(timeout_.count()) / 1000.0,
                     fmt::join(ranks, "; "));
}

}  // namespace lockstep
