// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>

#include "flight_findings.hpp"

namespace lockstep::launchers {
namespace {

using Fingerprint = std::map<std::string, std::string>;

// What the ranks of an operation must agree on: of a message, its size.
Fingerprint agreed(const FlightSlot& slot, const FlightCall& call) {
  if (!slot.is_message) return call.fingerprint;
  return {{"dtype", call.fingerprint.at("dtype")}, {"elements", call.fingerprint.at("elements")}};
}

struct Camp {
  Fingerprint fingerprint{};
  std::vector<FlightEntry> entries{};
};

// The largest first; of equal ones, that of the lowest rank.
std::vector<Camp> camps_of(const FlightSlot& slot) {
  std::vector<Camp> camps;
  for (const auto& [rank, entry] : slot.entries) {
    const Fingerprint own = agreed(slot, *entry.call);
    auto camp = std::ranges::find(camps, own, &Camp::fingerprint);
    if (camp == camps.end()) camp = camps.insert(camp, {.fingerprint = own});
    camp->entries.push_back(entry);
  }
  std::ranges::stable_sort(camps, std::ranges::greater{}, [](const Camp& camp) { return camp.entries.size(); });
  return camps;
}

std::string differing_fields(const Fingerprint& left, const Fingerprint& right) {
  std::vector<std::string> fields;
  for (const auto& [field, value] : left) {
    if (right.at(field) != value) fields.push_back(field);
  }
  if (std::ranges::find(fields, "kind") != fields.end()) return "";  // that tells it all
  return fmt::format(" (different: {})", fmt::join(fields, ", "));
}

const FlightCall* call_of(const FlightEntry& entry, std::uint64_t sequence) {
  const auto found = std::ranges::find_if(entry.dump->calls, [&](const FlightCall& call) {
    return call.communicator == entry.call->communicator && call.sequence == sequence && !call.is_message();
  });
  return found == entry.dump->calls.end() ? nullptr : &*found;
}

// Whether the later calls, where there are any, show what happened to `odd`.
std::string shift(const FlightSlot& slot, const FlightEntry& odd, const FlightEntry& other) {
  if (slot.is_message) return "";
  const FlightCall* const odd_next = call_of(odd, slot.sequence + 1);
  const FlightCall* const other_next = call_of(other, slot.sequence + 1);
  const bool ahead = other_next != nullptr && other_next->fingerprint == odd.call->fingerprint;
  const bool behind = odd_next != nullptr && odd_next->fingerprint == other.call->fingerprint;
  const int rank = odd.dump->rank;
  if (ahead && behind) return fmt::format("; rank {} called the two in the other order", rank);
  if (ahead) return fmt::format("; rank {} seems to have left out a call", rank);
  if (behind) return fmt::format("; rank {} seems to have made one more call", rank);
  return "";
}

}  // namespace

std::optional<FlightFinding> mismatch_in(const FlightSlot& slot) {
  const std::vector<Camp> camps = camps_of(slot);
  if (camps.size() == 1) return std::nullopt;
  const FlightEntry& usual = camps.front().entries.front();
  FlightFinding finding{.kind = FlightFinding::Kind::mismatch, .communicator = slot.name, .call = text_of(*usual.call)};
  for (auto camp = camps.begin() + 1; camp != camps.end(); ++camp) {
    const std::vector<int> ranks = ranks_of(camp->entries);
    finding.ranks.insert(finding.ranks.end(), ranks.begin(), ranks.end());
    finding.text += fmt::format("{}{} called {}", finding.text.empty() ? "" : ", ", ranks_text(ranks),
                                text_of(*camp->entries.front().call));
  }
  const Camp& odd = camps[1];
  finding.text += fmt::format(" where {} called {} on \"{}\"{}{}", ranks_text(ranks_of(camps.front().entries)),
                              finding.call, slot.name, differing_fields(odd.fingerprint, camps.front().fingerprint),
                              shift(slot, odd.entries.front(), usual));
  return finding;
}

}  // namespace lockstep::launchers
