// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/mixture.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

__extension__ using Wide = __int128;  // of products of two numbers below 2⁶²

constexpr std::size_t kMostSources = 1024;
constexpr std::int64_t kLargestTotal = std::int64_t{1} << 48;  // (2k−2)·W must stay below 2⁶²

void require(bool ok, const std::string& why) {
  if (!ok) throw UsageError({.what = "mixing sources", .why = why});
}

}  // namespace

Mixture::Mixture(std::vector<std::int64_t> weights)
    : weights_(std::move(weights)), counts_(weights_.size(), 0), behind_(weights_.size(), 0) {
  require(!weights_.empty() && weights_.size() <= kMostSources,
          fmt::format("there are {} of them, not 1 to {}", weights_.size(), kMostSources));
  for (const auto weight : weights_) {
    require(weight >= 1 && weight <= kLargestTotal - total_, "weights are from 1 on, together at most 2^48");
    total_ += weight;
  }
}

std::size_t Mixture::next() noexcept {
  const auto sources = weights_.size();
  if (sources == 1) {
    ++counts_[0];
    return 0;
  }
  // In units of 1/(2k−2): source i is due from behind ≥ W on, and too late when behind reaches (2k−3)·W.
  const auto unit = 2 * static_cast<std::int64_t>(sources) - 2;
  const std::int64_t limit = (unit - 1) * total_;
  std::size_t chosen = 0;
  std::int64_t chosen_room = -1;  // none yet: the room of a source that is due is never negative
  for (std::size_t i = 0; i < sources; ++i) {
    behind_[i] += weights_[i];
    const std::int64_t scaled = unit * behind_[i];
    if (scaled < total_) continue;
    const std::int64_t room = limit - scaled + unit * weights_[i];
    if (chosen_room < 0 || Wide{room} * weights_[chosen] < Wide{chosen_room} * weights_[i]) {
      chosen = i;
      chosen_room = room;
    }
  }
  behind_[chosen] -= total_;
  ++counts_[chosen];
  return chosen;
}

void Mixture::resume(std::span<const std::int64_t> counts) {
  require(counts.size() == weights_.size(), "the counts are of another number of sources");
  const std::int64_t samples = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  std::vector<std::int64_t> behind;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const Wide difference = Wide{samples} * weights_[i] - Wide{counts[i]} * total_;
    require(counts[i] >= 0 && difference > -Wide{total_} && difference < Wide{total_},
            fmt::format("source {} gave {} of {} samples, which is not its share", i, counts[i], samples));
    behind.push_back(static_cast<std::int64_t>(difference));
  }
  counts_.assign(counts.begin(), counts.end());
  behind_ = std::move(behind);
}

std::vector<std::int64_t> whole_weights(std::span<const double> shares) {
  double sum = 0;
  for (const double share : shares) {
    require(std::isfinite(share) && share > 0, fmt::format("a weight is {}, not a number above 0", share));
    sum += share;
  }
  require(std::isfinite(sum), "the weights are too large");
  std::vector<std::int64_t> whole;
  for (const double share : shares) {
    whole.push_back(std::max<std::int64_t>(1, std::llround(share / sum * 0x1p32)));
  }
  const std::int64_t divisor = std::reduce(whole.begin(), whole.end(), std::int64_t{0},
                                           [](std::int64_t a, std::int64_t b) { return std::gcd(a, b); });
  for (auto& weight : whole) weight /= divisor;
  return whole;
}

}  // namespace lockstep
