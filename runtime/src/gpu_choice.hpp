// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "lockstep/comm/gpu.hpp"

namespace lockstep {

struct DeviceChoice {
  std::optional<Gpu> gpu;  // none: the CPU
  std::string why;
};

// Collective. What `run.device` (auto, cpu or cuda) comes to: the CPU on all ranks, or on each the GPU of its local
// rank. Throws AgreedError where "cuda" cannot be had on some rank, or a GPU that "auto" found does not open.
[[nodiscard]] DeviceChoice choose_device(Communicator& world, const std::string& device);

}  // namespace lockstep
