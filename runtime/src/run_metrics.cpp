// SPDX-License-Identifier: Apache-2.0
#include "run_metrics.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

namespace lockstep {

void StepMetrics::begin_step(const StepPlan& plan) {
  plan_ = plan;
  k_ = static_cast<int>(plan.owned.first);
  series_.clear();
}

void StepMetrics::begin_micro_batch(int k, std::int64_t samples) {
  k_ = k;
  samples_ = samples;
}

void StepMetrics::log(std::string_view name, double value) {
  auto series = std::find_if(series_.begin(), series_.end(), [&](const Series& s) { return s.name == name; });
  if (series == series_.end()) {
    series_.push_back({std::string(name), std::vector<double>(static_cast<std::size_t>(plan_.micro_batches))});
    series = series_.end() - 1;
  }
  series->weighted[static_cast<std::size_t>(k_)] = value * static_cast<double>(samples_);
}

std::vector<std::pair<std::string, double>> StepMetrics::means(Communicator& world) const {
  const int owner = plan_.owner_of_first_non_empty(world.world_size());
  nlohmann::json own_names = nlohmann::json::array();
  for (const Series& series : series_) own_names.push_back(series.name);
  const auto names = nlohmann::json::parse(world.broadcast(own_names.dump(), owner)).get<std::vector<std::string>>();

  const double total = plan_.samples > 0 ? static_cast<double>(plan_.samples) : plan_.micro_batches;
  std::vector<std::pair<std::string, double>> means;
  for (const std::string& name : names) {
    std::vector<double> values(static_cast<std::size_t>(plan_.micro_batches));
    const auto own = std::find_if(series_.begin(), series_.end(), [&](const Series& s) { return s.name == name; });
    if (own != series_.end()) values = own->weighted;
    // Every element comes from one rank, so that this sum is exact; the order of the next one is fixed.
    world.all_reduce({values.data(), plan_.micro_batches, DType::float64}).wait();
    means.emplace_back(name, std::accumulate(values.begin(), values.end(), 0.0) / total);
  }
  return means;
}

}  // namespace lockstep
