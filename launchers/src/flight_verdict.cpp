// SPDX-License-Identifier: Apache-2.0
#include "flight_verdict.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "flight_findings.hpp"

namespace lockstep::launchers {
namespace {

using Kind = FlightFinding::Kind;

// A finding with what orders it among those of its kind.
struct Weighed {
  FlightFinding finding{};
  std::size_t waiting = 0;  // the more ranks wait, the surer is who lets them
  std::int64_t started = 0;
};

std::vector<Weighed> findings_in(const std::vector<FlightSlot>& slots) {
  std::vector<Weighed> found;
  std::set<std::string> explained;  // what comes later on a communicator follows from what came first
  for (const FlightSlot& slot : slots) {
    if (explained.contains(slot.id)) continue;
    const std::vector<FlightEntry> stuck = slot.stuck();
    std::optional<FlightFinding> finding = mismatch_in(slot);
    if (!finding && !stuck.empty() && !slot.absent.empty()) finding = never_called(slot, stuck);
    if (!finding && !stuck.empty() && !slot.late.empty()) finding = too_late(slot, stuck);
    if (!finding && !stuck.empty() && !slot.has_unknown) finding = unfinished(slot, stuck);
    if (!finding) continue;
    explained.insert(slot.id);
    found.push_back({*std::move(finding), stuck.size(), slot.first_started()});
  }
  return found;
}

// Those of the newest file's job. A rank that died now may have left a file when an earlier job failed here.
std::vector<FlightDump> of_one_job(std::vector<FlightDump> dumps) {
  const auto newest = std::ranges::max_element(dumps, {}, &FlightDump::time)->ranks;
  std::erase_if(dumps, [&](const FlightDump& dump) { return dump.ranks != newest; });
  return dumps;
}

// Whether the rank without a file explains why others did not come.
bool explains_absence(const std::vector<FlightDump>& dumps, const std::vector<FlightSlot>& slots,
                      const FlightFinding& never) {
  for (const FlightDump& dump : dumps) {
    for (const FlightCommunicator& communicator : dump.communicators) {
      if (communicator.failure && communicator.failure->kind == "peer_died") return true;
    }
  }
  return std::ranges::any_of(slots, [&](const FlightSlot& slot) {  // the absent ones wait for it somewhere else
    return slot.has_unknown && std::ranges::any_of(slot.stuck(), [&](const FlightEntry& entry) {
             return std::ranges::find(never.ranks, entry.dump->rank) != never.ranks.end();
           });
  });
}

}  // namespace

std::string_view name_of(Kind kind) noexcept {
  switch (kind) {
    case Kind::mismatch:
      return "mismatch";
    case Kind::never_called:
      return "never_called";
    case Kind::too_late:
      return "too_late";
    case Kind::no_dump:
      return "no_dump";
    case Kind::gave_up:
      return "gave_up";
    case Kind::unfinished:
      break;
  }
  return "unfinished";
}

std::vector<FlightFinding> judge_flight(std::vector<FlightDump> all_dumps) {
  const std::vector<FlightDump> dumps = of_one_job(std::move(all_dumps));
  const std::vector<FlightSlot> slots = line_up(dumps);
  std::vector<Weighed> found = findings_in(slots);
  std::ranges::stable_sort(found, {}, [](const Weighed& weighed) {
    return std::tuple(weighed.finding.kind, -static_cast<std::int64_t>(weighed.waiting), weighed.started);
  });
  std::vector<FlightFinding> findings;
  for (Weighed& weighed : found) findings.push_back(std::move(weighed.finding));
  const auto insert_by_kind = [&](FlightFinding finding) {
    const auto place = std::ranges::find_if(findings, [&](const FlightFinding& other) {
      return other.kind > finding.kind ||
             (finding.kind == Kind::no_dump && other.kind != Kind::mismatch && explains_absence(dumps, slots, other));
    });
    findings.insert(place, std::move(finding));
  };
  if (auto finding = without_dump(dumps, slots)) insert_by_kind(*std::move(finding));
  if (auto finding = gave_up(dumps)) insert_by_kind(*std::move(finding));
  return findings;
}

}  // namespace lockstep::launchers
