// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "flight_dump.hpp"

// The calls of all ranks lined up by communicator and number.
namespace lockstep::launchers {

// One rank's part in an operation.
struct FlightEntry {
  const FlightDump* dump = nullptr;
  const FlightCall* call = nullptr;

  // It failed, or has been going on for more than a second: not just a call that the file caught on its way.
  [[nodiscard]] bool stuck() const;
};

// One operation: a collective of a communicator, or a message between two of its ranks.
struct FlightSlot {
  std::string id{};    // of the communicator
  std::string name{};  // of the communicator
  std::uint64_t sequence = 0;
  bool is_message = false;
  std::map<int, FlightEntry> entries{};     // by rank in the communicator
  std::vector<const FlightDump*> absent{};  // take part, left a file, and never called it
  std::vector<const FlightDump*> late{};    // called it when others had given up waiting
  bool has_unknown = false;                 // some that take part left no file

  [[nodiscard]] std::vector<FlightEntry> stuck() const;
  [[nodiscard]] std::int64_t first_started() const;
};

// The operations of each communicator in order: collectives first, then the messages of each pair. Pure. The slots
// point into `dumps`.
[[nodiscard]] std::vector<FlightSlot> line_up(const std::vector<FlightDump>& dumps);

}  // namespace lockstep::launchers
