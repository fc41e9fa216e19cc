// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lockstep/comm/communicator.hpp"
#include "participant.hpp"

namespace lockstep {

// The metrics of one step: values of micro-batches, which become their mean over the samples of all ranks, in the order
// of the micro-batches, so that the logged numbers do not depend on the world size.
class StepMetrics {
 public:
  void begin_step(const StepPlan& plan);
  void begin_micro_batch(int k, std::int64_t samples);
  void log(std::string_view name, double value);  // of the present micro-batch; outside of one: of the last
  // Collective. In the order in which the rank of the first non-empty micro-batch logged them.
  [[nodiscard]] std::vector<std::pair<std::string, double>> means(Communicator& world) const;

 private:
  struct Series {
    std::string name;
    std::vector<double> weighted;  // by micro-batch: value · samples; 0 for those of other ranks
  };
  StepPlan plan_;
  int k_ = 0;
  std::int64_t samples_ = 1;
  std::vector<Series> series_;
};

}  // namespace lockstep
