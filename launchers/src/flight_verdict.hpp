// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "flight_dump.hpp"

namespace lockstep::launchers {

struct FlightFinding {
  enum class Kind { mismatch, never_called, too_late, no_dump, gave_up, unfinished };
  Kind kind = Kind::mismatch;
  std::vector<int> ranks{};    // at fault, as far as can be told
  std::string communicator{};  // its name; empty where the finding is not about one
  std::string call{};          // the operation; empty likewise
  std::string text{};          // one line for the user
};

[[nodiscard]] std::string_view name_of(FlightFinding::Kind kind) noexcept;

// What the ranks disagree on, the most telling first; empty: nothing. Pure.
[[nodiscard]] std::vector<FlightFinding> judge_flight(std::vector<FlightDump> dumps);

}  // namespace lockstep::launchers
