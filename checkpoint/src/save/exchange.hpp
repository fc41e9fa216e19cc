// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lockstep/checkpoint/saver.hpp"
#include "lockstep/comm/communicator.hpp"
#include "plan/write_plan.hpp"
#include "write/part.hpp"

namespace lockstep {

// What ranks tell each other for a save.

// Collective. What every rank holds, by rank. Cheap where all hold the same.
[[nodiscard]] std::vector<std::vector<HeldSlice>> exchange_held(Communicator& world,
                                                                const std::vector<HeldSlice>& held);

// What a rank did for a save: its file, and the CRC-32Cs of the pieces that it holds and another rank writes, in the
// order of Part::compared.
struct RankReport {
  PartReport part;
  std::vector<std::uint32_t> compared_crcs;
};

// Collective. Every rank's report on rank 0, by rank; nothing on the others.
[[nodiscard]] std::vector<RankReport> gather_reports(Communicator& world, const RankReport& report);

// Collective. Every rank's text of at most 63 bytes, by rank: a file's name.
[[nodiscard]] std::vector<std::string> exchange_names(Communicator& world, const std::string& own);

// Collective. That of `root` on every rank.
[[nodiscard]] SaveOutcome broadcast_outcome(Communicator& world, const SaveOutcome& outcome, int root);

}  // namespace lockstep
