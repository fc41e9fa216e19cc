// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "plan/write_plan.hpp"
#include "save/exchange.hpp"

namespace lockstep {

// Pure. Which tensors differ between ranks that hold them, and which ranks stand alone: "/model/fc.weight: ranks 0, 1,
// 3 agree, rank 2 differs"; empty if none. `reports` by rank.
[[nodiscard]] std::string diverged_replicas(const WritePlan& plan, std::span<const RankReport> reports);

}  // namespace lockstep
