// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <nlohmann/json.hpp>

#include "flight_registry.hpp"

namespace lockstep::flight {
namespace {

using Json = nlohmann::ordered_json;

// Steady times as nanoseconds since the Unix epoch, which other hosts know too.
class WallClock {
 public:
  [[nodiscard]] std::int64_t now() const { return nanoseconds_of(steady_); }
  [[nodiscard]] std::int64_t nanoseconds_of(TimePoint time) const {
    const auto epoch = system_.time_since_epoch() - (steady_ - time);
    return std::chrono::duration_cast<std::chrono::nanoseconds>(epoch).count();
  }
  [[nodiscard]] Json to_json(TimePoint time) const {
    return time == TimePoint{} ? Json(nullptr) : Json(nanoseconds_of(time));
  }

 private:
  TimePoint steady_ = std::chrono::steady_clock::now();
  std::chrono::system_clock::time_point system_ = std::chrono::system_clock::now();
};

std::string_view name_of(comm::FailureKind kind) {
  switch (kind) {
    case comm::FailureKind::mismatch:
      return "mismatch";
    case comm::FailureKind::timeout:
      return "timeout";
    case comm::FailureKind::peer_died:
      return "peer_died";
    case comm::FailureKind::aborted:
      return "aborted";
    case comm::FailureKind::native:
      break;
  }
  return "native";
}

std::string_view state_of(const Entry& entry, const Group& group) {
  if (entry.ended != TimePoint{}) return "done";
  if (group.failure) return "failed";
  return entry.moved != TimePoint{} ? "moving" : "published";
}

// What all ranks must agree on.
Json fingerprint_of(const comm::Call& call) {
  return {{"kind", comm::name_of(call.kind)},
          {"dtype", name_of(call.dtype)},
          {"op", name_of(call.op)},
          {"order", call.order == ReduceOrder::tree ? "tree" : "any"},
          {"root", call.root},
          {"elements", call.elements},
          {"parts", call.parts},
          {"leaves", call.leaves},
          {"scale", call.scale}};
}

Json to_json(const Group& group, const WallClock& clock) {
  Json json{{"id", group.id},
            {"name", group.name},
            {"backend", group.backend},
            {"rank", group.rank},
            {"world_size", group.world_size},
            {"collectives", group.collectives.load(std::memory_order_relaxed)},
            {"failure", nullptr}};
  if (group.failure) {
    json["failure"] = {{"kind", name_of(group.failure->kind)},
                       {"why", group.failure->why},
                       {"time", clock.nanoseconds_of(group.failure->time)}};
  }
  return json;
}

Json to_json(const Entry& entry, const Group& group, std::size_t index, const WallClock& clock) {
  return {{"communicator", index},
          {"sequence", entry.call.sequence},
          {"text", comm::to_string(entry.call)},
          {"label", entry.label},
          {"state", state_of(entry, group)},
          {"thread", entry.thread},
          {"started", clock.nanoseconds_of(entry.started)},
          {"moved", clock.to_json(entry.moved)},
          {"ended", clock.to_json(entry.ended)},
          {"fingerprint", fingerprint_of(entry.call)}};
}

std::string text_of(const Json& json) {  // labels may be cut inside a letter, and causes quote what is no UTF-8
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string dump_text(std::string_view reason, const std::vector<const Group*>& groups,
                      const std::vector<Entry>& entries) {
  const WallClock clock;
  const Root& root = *groups.front()->root;
  const comm::Peer& own = root.peers[static_cast<std::size_t>(root.rank)];
  Json header{{"schema_version", 1},
              {"rank", root.rank},
              {"world_size", root.world_size},
              {"host", own.host},
              {"pid", own.pid},
              {"reason", reason},
              {"time", clock.now()},
              {"recorded", recorded()},
              {"ranks", Json::array()},
              {"communicators", Json::array()}};
  for (const comm::Peer& peer : root.peers) header["ranks"].push_back({{"host", peer.host}, {"pid", peer.pid}});
  std::map<std::uint32_t, std::size_t> indices;
  for (const Group* const group : groups) {
    indices[group->number] = indices.size();
    header["communicators"].push_back(to_json(*group, clock));
  }
  // One call a line, for grep.
  std::string text = text_of(header);
  text.back() = ',';
  text += "\n\"calls\":[";
  std::string_view separator = "\n";
  for (const Entry& entry : entries) {
    const auto index = indices.find(entry.communicator);
    if (index == indices.end()) continue;  // of another rank of this process
    text += separator;
    text += text_of(to_json(entry, *groups[index->second], index->second, clock));
    separator = ",\n";
  }
  return text + "\n]}\n";
}

}  // namespace lockstep::flight
