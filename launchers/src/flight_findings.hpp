// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "flight_slots.hpp"
#include "flight_verdict.hpp"

// One function for each kind of finding. All are pure.
namespace lockstep::launchers {

[[nodiscard]] std::optional<FlightFinding> mismatch_in(const FlightSlot& slot);

// Of an operation in which `stuck` are: that others never called, that others called when it was too late, and that all
// have called.
[[nodiscard]] FlightFinding never_called(const FlightSlot& slot, const std::vector<FlightEntry>& stuck);
[[nodiscard]] FlightFinding too_late(const FlightSlot& slot, const std::vector<FlightEntry>& stuck);
[[nodiscard]] FlightFinding unfinished(const FlightSlot& slot, const std::vector<FlightEntry>& stuck);

// Ranks that left no file.
[[nodiscard]] std::optional<FlightFinding> without_dump(const std::vector<FlightDump>& dumps,
                                                        const std::vector<FlightSlot>& slots);

// The first rank that failed by itself.
[[nodiscard]] std::optional<FlightFinding> gave_up(const std::vector<FlightDump>& dumps);

// "rank 3", "ranks 0, 2", and the ranks of entries.
[[nodiscard]] std::string ranks_text(std::vector<int> ranks);
[[nodiscard]] std::vector<int> ranks_of(const std::vector<FlightEntry>& entries);
// With the label, where there is one.
[[nodiscard]] std::string text_of(const FlightCall& call);

}  // namespace lockstep::launchers
