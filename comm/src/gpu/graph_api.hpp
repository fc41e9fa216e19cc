// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "lockstep/comm/gpu_graph.hpp"

namespace lockstep::comm::gpu {

class GraphApi {
 public:
  virtual ~GraphApi() = default;
  [[nodiscard]] virtual std::unique_ptr<Graph> make_graph() = 0;
};

}  // namespace lockstep::comm::gpu
