// SPDX-License-Identifier: Apache-2.0
#include "missing_ranks.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace lockstep::comm {

std::string names_of(const std::vector<int>& ranks, const std::vector<Peer>& peers) {
  std::vector<std::string> names;
  for (const int rank : ranks)
    names.push_back(fmt::format("{} ({})", rank, peers[static_cast<std::size_t>(rank)].host));
  return fmt::format("rank{} {}", ranks.size() == 1 ? "" : "s", fmt::join(names, ", "));
}

std::string others_than(const std::vector<int>& missing, int world_size) {
  std::vector<std::string> runs;
  int first = 0;
  for (std::size_t i = 0; i <= missing.size(); ++i) {
    const int end = i < missing.size() ? missing[i] : world_size;
    if (end == first + 1) runs.push_back(fmt::format("{}", first));
    if (end > first + 1) runs.push_back(fmt::format("{}-{}", first, end - 1));
    first = end + 1;
  }
  return fmt::format("{}", fmt::join(runs, ", "));
}

}  // namespace lockstep::comm
