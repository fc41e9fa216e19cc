// SPDX-License-Identifier: Apache-2.0
#include "flight_slots.hpp"

#include <algorithm>
#include <limits>
#include <tuple>

namespace lockstep::launchers {
namespace {

struct Member {
  const FlightDump* dump = nullptr;
  const FlightCommunicator* communicator = nullptr;
};
using Members = std::map<int, Member>;  // by rank in the communicator

// Communicator, sender and receiver (of a collective: −1), number.
using Key = std::tuple<std::string, int, int, std::uint64_t>;

Key key_of(const FlightCommunicator& communicator, const FlightCall& call) {
  if (!call.is_message()) return {communicator.id, -1, -1, call.sequence};
  return call.kind == "send" ? Key{communicator.id, communicator.rank, call.root, call.sequence}
                             : Key{communicator.id, call.root, communicator.rank, call.sequence};
}

std::vector<int> participants(const Key& key, const Members& members) {
  const auto& [id, from, to, sequence] = key;
  if (from >= 0) return {from, to};
  std::vector<int> all(static_cast<std::size_t>(members.begin()->second.communicator->world_size));
  for (std::size_t rank = 0; rank < all.size(); ++rank) all[rank] = static_cast<int>(rank);
  return all;
}

void find_absent(FlightSlot& slot, const Key& key, const Members& members) {
  const std::int64_t began = slot.first_started();
  for (const int rank : participants(key, members)) {
    if (slot.entries.contains(rank)) continue;
    const auto member = members.find(rank);
    if (member == members.end()) {
      slot.has_unknown = true;
      continue;
    }
    const auto& [dump, communicator] = member->second;
    const bool forgotten = !slot.is_message && communicator->collectives > slot.sequence;  // its ring came round
    if (!forgotten && dump->time >= began) slot.absent.push_back(dump);
  }
}

void find_late(FlightSlot& slot) {
  std::int64_t first_failure = std::numeric_limits<std::int64_t>::max();
  for (const auto& [rank, entry] : slot.entries) {
    const auto& failure = entry.dump->communicators[entry.call->communicator].failure;
    if (entry.stuck() && failure) first_failure = std::min(first_failure, failure->time);
  }
  for (const auto& [rank, entry] : slot.entries) {
    if (entry.call->started > first_failure) slot.late.push_back(entry.dump);
  }
}

}  // namespace

bool FlightEntry::stuck() const {
  constexpr std::int64_t kLong = 1'000'000'000;
  return call->state == "failed" || (!call->done() && dump->time - call->started > kLong);
}

std::vector<FlightEntry> FlightSlot::stuck() const {
  std::vector<FlightEntry> found;
  for (const auto& [rank, entry] : entries) {
    if (entry.stuck()) found.push_back(entry);
  }
  return found;
}

std::int64_t FlightSlot::first_started() const {
  return std::ranges::min_element(entries, {}, [](const auto& entry) { return entry.second.call->started; })
      ->second.call->started;
}

std::vector<FlightSlot> line_up(const std::vector<FlightDump>& dumps) {
  std::map<std::string, Members> members;
  std::map<Key, FlightSlot> slots;
  for (const FlightDump& dump : dumps) {
    for (const FlightCommunicator& communicator : dump.communicators) {
      members[communicator.id][communicator.rank] = {&dump, &communicator};
    }
    for (const FlightCall& call : dump.calls) {
      const FlightCommunicator& communicator = dump.communicators[call.communicator];
      const Key key = key_of(communicator, call);
      FlightSlot& slot = slots[key];
      slot.id = communicator.id;
      slot.name = communicator.name;
      slot.sequence = call.sequence;
      slot.is_message = call.is_message();
      slot.entries[communicator.rank] = {&dump, &call};
    }
  }
  std::vector<FlightSlot> ordered;
  for (auto& [key, slot] : slots) {
    find_absent(slot, key, members.at(slot.id));
    find_late(slot);
    ordered.push_back(std::move(slot));
  }
  return ordered;
}

}  // namespace lockstep::launchers
