// SPDX-License-Identifier: Apache-2.0
#include "save/replicas.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <vector>

namespace lockstep {
namespace {

constexpr std::size_t kNamed = 8;  // tensors that a message names

using RanksByCrc = std::map<std::uint32_t, std::vector<int>>;

std::string ranks_text(const std::vector<int>& ranks) {
  return fmt::format("{} {}", ranks.size() == 1 ? "rank" : "ranks", fmt::join(ranks, ", "));
}

// The largest group is taken for right; of two ranks that differ nobody knows which one is.
std::string describe(const std::string& name, const RanksByCrc& groups) {
  const auto largest = std::ranges::max_element(groups, {}, [](const auto& group) { return group.second.size(); });
  std::vector<std::string> texts;
  const bool majority = largest->second.size() > 1;
  if (majority) texts.push_back(ranks_text(largest->second) + " agree");
  for (const auto& group : groups) {
    if (majority && group.first == largest->first) continue;
    const bool one = group.second.size() == 1;
    texts.push_back(fmt::format("{} {} (CRC-32C {:08x})", ranks_text(group.second),
                                majority ? (one ? "differs" : "differ") : (one ? "has other bits" : "have other bits"),
                                group.first));
  }
  return fmt::format("{}: {}", name, fmt::join(texts, ", "));
}

}  // namespace

std::string diverged_replicas(const WritePlan& plan, std::span<const RankReport> reports) {
  std::vector<std::size_t> written(reports.size());  // pieces of each rank that were passed
  std::vector<std::size_t> compared(reports.size());
  std::vector<std::string> texts;
  std::size_t diverged = 0;
  for (const WritePlan::Tensor& tensor : plan.tensors) {
    bool told = false;
    for (const WritePlan::Piece& piece : tensor.pieces) {
      RanksByCrc groups;
      for (const int holder : piece.holders) {
        const auto rank = static_cast<std::size_t>(holder);
        const RankReport& report = reports[rank];
        groups[holder == piece.writer ? report.part.crcs.at(written[rank]++)
                                      : report.compared_crcs.at(compared[rank]++)]
            .push_back(holder);
      }
      if (groups.size() == 1 || told) continue;
      told = true;
      if (++diverged <= kNamed) texts.push_back(describe(tensor.name, groups));
    }
  }
  if (diverged > kNamed) texts.push_back(fmt::format("and {} more tensors", diverged - kNamed));
  return fmt::format("{}", fmt::join(texts, "; "));
}

}  // namespace lockstep
