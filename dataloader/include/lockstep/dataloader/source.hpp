// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/dataloader/dataset.hpp"
#include "lockstep/dataloader/sample_order.hpp"

namespace lockstep {

// One of the data sets that a stream of samples is mixed of.
struct Source {
  std::string name;  // its position in the state goes by it; also a part of its seed, where there are several
  std::shared_ptr<const Dataset> dataset;
  std::optional<double> weight{};  // its share of the stream; none set: by samples, so that all end a pass together
  std::shared_ptr<const SampleOrder> order{};  // default: shuffled, or in order, as the loader's options say
};

// A sample that could not be delivered, and another one that took its place.
struct DamagedEntry {
  std::string source;
  std::int64_t sample = 0;
  std::string why;
  friend bool operator==(const DamagedEntry&, const DamagedEntry&) = default;
};

}  // namespace lockstep
