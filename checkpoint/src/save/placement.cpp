// SPDX-License-Identifier: Apache-2.0
#include "save/placement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "lockstep/base/error.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep {
namespace {

std::vector<int> numbers_of(const Communicator& world) {
  std::vector<int> numbers;
  for (const comm::Peer& peer : world.peers()) numbers.push_back(peer.node);
  return numbers;
}

}  // namespace

Placement::Placement(const Communicator& world, std::vector<int> numbers) {
  if (numbers.empty()) numbers = numbers_of(world);
  if (numbers.size() != static_cast<std::size_t>(world.world_size()) || std::ranges::min(numbers) < 0) {
    throw UsageError({.what = "partner copies",
                      .why = fmt::format("{} ranks need as many node numbers, none of them negative; {} were given",
                                         world.world_size(), numbers.size()),
                      .fix = "leave PartnerOptions::nodes empty"});
  }
  numbers_ = numbers;
  std::ranges::sort(numbers_);
  numbers_.erase(std::unique(numbers_.begin(), numbers_.end()), numbers_.end());
  ranks_.resize(numbers_.size());
  for (std::size_t rank = 0; rank < numbers.size(); ++rank) {
    const auto node = std::ranges::lower_bound(numbers_, numbers[rank]) - numbers_.begin();
    node_of_.push_back(static_cast<int>(node));
    ranks_[static_cast<std::size_t>(node)].push_back(static_cast<int>(rank));
  }
}

int Placement::partner_of(int rank) const {
  const int node = node_of(rank);
  const auto local_rank = std::ranges::lower_bound(ranks_of(node), rank) - ranks_of(node).begin();
  return keeper((node + 1) % nodes(), static_cast<std::size_t>(local_rank));
}

std::vector<int> Placement::origins_of(int rank) const {
  std::vector<int> origins;
  for (const int other : ranks_of((node_of(rank) + nodes() - 1) % nodes())) {
    if (partner_of(other) == rank) origins.push_back(other);
  }
  return origins;
}

}  // namespace lockstep
