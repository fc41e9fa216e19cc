// SPDX-License-Identifier: Apache-2.0
#include "flight_findings.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace lockstep::launchers {
namespace {

using Kind = FlightFinding::Kind;

std::string last_call_of(const FlightDump& dump) {
  const auto last = std::ranges::max_element(dump.calls, {}, &FlightCall::started);
  if (last == dump.calls.end()) return "it made no call at all";
  return fmt::format("its last call was {} on \"{}\" ({})", text_of(*last), dump.communicators[last->communicator].name,
                     last->done() ? "done" : "not done");
}

// Its own failure, if that was not what its peers did or did not do.
const FlightFailure* own_failure(const FlightDump& dump) {
  const FlightFailure* first = nullptr;
  for (const FlightCommunicator& communicator : dump.communicators) {
    const auto& failure = communicator.failure;
    if (failure && (first == nullptr || failure->time < first->time)) first = &*failure;
  }
  return first != nullptr && (first->kind == "aborted" || first->kind == "native") ? first : nullptr;
}

}  // namespace

std::string ranks_text(std::vector<int> ranks) {
  std::ranges::sort(ranks);
  return fmt::format("rank{} {}", ranks.size() == 1 ? "" : "s", fmt::join(ranks, ", "));
}

std::vector<int> ranks_of(const std::vector<FlightEntry>& entries) {
  std::vector<int> ranks;
  for (const FlightEntry& entry : entries) ranks.push_back(entry.dump->rank);
  return ranks;
}

std::string text_of(const FlightCall& call) {
  return call.label.empty() ? call.text : fmt::format("{} of {}", call.text, call.label);
}

FlightFinding never_called(const FlightSlot& slot, const std::vector<FlightEntry>& waiting) {
  FlightFinding finding{.kind = Kind::never_called, .communicator = slot.name, .call = text_of(*waiting.front().call)};
  for (const FlightDump* const dump : slot.absent) finding.ranks.push_back(dump->rank);
  const std::string_view what = slot.is_message ? "never came to" : "never called";
  finding.text = fmt::format("{} {} {} on \"{}\", in which {} wait{}", ranks_text(finding.ranks), what, finding.call,
                             slot.name, ranks_text(ranks_of(waiting)), waiting.size() == 1 ? "s" : "");
  for (const FlightDump* const dump : slot.absent) {
    if (slot.absent.size() > 1) finding.text += fmt::format("; rank {}", dump->rank);
    finding.text += ": " + last_call_of(*dump);
    if (const auto* const failure = own_failure(*dump)) finding.text += "; it gave up: " + failure->why;
  }
  return finding;
}

FlightFinding too_late(const FlightSlot& slot, const std::vector<FlightEntry>& stuck) {
  FlightFinding finding{.kind = Kind::too_late, .communicator = slot.name, .call = text_of(*stuck.front().call)};
  for (const FlightDump* const dump : slot.late) finding.ranks.push_back(dump->rank);
  finding.text = fmt::format("{} called {} on \"{}\" only when the others had given up waiting (slow, or stopped)",
                             ranks_text(finding.ranks), finding.call, slot.name);
  return finding;
}

FlightFinding unfinished(const FlightSlot& slot, const std::vector<FlightEntry>& stuck) {
  std::vector<FlightEntry> behind = stuck;
  if (stuck.size() == slot.entries.size()) {  // none is done: those that never moved anything hold up the others
    std::erase_if(behind, [](const FlightEntry& entry) { return entry.call->moved != 0; });
    if (behind.empty()) behind = stuck;
  }
  FlightFinding finding{.kind = Kind::unfinished,
                        .ranks = ranks_of(behind),
                        .communicator = slot.name,
                        .call = text_of(*stuck.front().call)};
  finding.text = fmt::format("all ranks are inside {} on \"{}\"; {} {} not finished moving data", finding.call,
                             slot.name, ranks_text(finding.ranks), finding.ranks.size() == 1 ? "has" : "have");
  return finding;
}

std::optional<FlightFinding> without_dump(const std::vector<FlightDump>& dumps, const std::vector<FlightSlot>& slots) {
  FlightFinding finding{.kind = Kind::no_dump};
  std::vector<std::string> processes;
  const auto& job = dumps.front().ranks;
  for (int rank = 0; rank < dumps.front().world_size; ++rank) {
    if (std::ranges::find(dumps, rank, &FlightDump::rank) != dumps.end()) continue;
    const auto& [host, pid] = job[static_cast<std::size_t>(rank)];
    finding.ranks.push_back(rank);
    processes.push_back(fmt::format("pid {} on {}", pid, host));
  }
  if (finding.ranks.empty()) return std::nullopt;
  finding.text =
      fmt::format("{} left no file (dead or stopped: {})", ranks_text(finding.ranks), fmt::join(processes, ", "));
  for (const FlightSlot& slot : slots) {
    const std::vector<FlightEntry> stuck = slot.stuck();
    if (!slot.has_unknown || stuck.empty()) continue;
    finding.communicator = slot.name;
    finding.call = text_of(*stuck.front().call);
    finding.text += fmt::format("; {} wait{} in {} on \"{}\"", ranks_text(ranks_of(stuck)),
                                stuck.size() == 1 ? "s" : "", finding.call, slot.name);
    break;
  }
  return finding;
}

std::optional<FlightFinding> gave_up(const std::vector<FlightDump>& dumps) {
  const FlightDump* first = nullptr;
  for (const FlightDump& dump : dumps) {
    const FlightFailure* const own = own_failure(dump);
    if (own != nullptr && (first == nullptr || own->time < own_failure(*first)->time)) first = &dump;
  }
  if (first == nullptr) return std::nullopt;
  return FlightFinding{.kind = Kind::gave_up,
                       .ranks = {first->rank},
                       .text = fmt::format("rank {} gave up: {}", first->rank, own_failure(*first)->why)};
}

}  // namespace lockstep::launchers
