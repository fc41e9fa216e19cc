// SPDX-License-Identifier: Apache-2.0
#include "flight_dump.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"

namespace lockstep::launchers {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::int64_t time_from(const Json& json) { return json.is_null() ? 0 : json.get<std::int64_t>(); }

FlightCall call_from(const Json& json) {
  const Json& fingerprint = json.at("fingerprint");
  FlightCall call{.communicator = json.at("communicator").get<std::size_t>(),
                  .sequence = json.at("sequence").get<std::uint64_t>(),
                  .kind = fingerprint.at("kind").get<std::string>(),
                  .root = fingerprint.at("root").get<int>(),
                  .text = json.at("text").get<std::string>(),
                  .label = json.at("label").get<std::string>(),
                  .state = json.at("state").get<std::string>(),
                  .started = time_from(json.at("started")),
                  .moved = time_from(json.at("moved")),
                  .ended = time_from(json.at("ended"))};
  for (const auto& [field, value] : fingerprint.items()) {
    call.fingerprint[field] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  return call;
}

FlightCommunicator communicator_from(const Json& json) {
  FlightCommunicator communicator{.id = json.at("id").get<std::string>(),
                                  .name = json.at("name").get<std::string>(),
                                  .rank = json.at("rank").get<int>(),
                                  .world_size = json.at("world_size").get<int>(),
                                  .collectives = json.at("collectives").get<std::uint64_t>()};
  if (const Json& failure = json.at("failure"); !failure.is_null()) {
    communicator.failure = FlightFailure{.kind = failure.at("kind").get<std::string>(),
                                         .why = failure.at("why").get<std::string>(),
                                         .time = failure.at("time").get<std::int64_t>()};
  }
  return communicator;
}

void require(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(what);
}

FlightDump dump_from(const Json& json) {
  require(json.at("schema_version").get<int>() == 1, "its schema_version is not 1, the one that this lockstep reads");
  FlightDump dump{.rank = json.at("rank").get<int>(),
                  .world_size = json.at("world_size").get<int>(),
                  .host = json.at("host").get<std::string>(),
                  .pid = json.at("pid").get<std::int64_t>(),
                  .time = json.at("time").get<std::int64_t>()};
  for (const Json& rank : json.at("ranks")) {
    dump.ranks.emplace_back(rank.at("host").get<std::string>(), rank.at("pid").get<std::int64_t>());
  }
  const auto ranks = static_cast<int>(dump.ranks.size());
  require(dump.world_size == ranks && dump.rank >= 0 && dump.rank < ranks, "its ranks do not fit together");
  for (const Json& communicator : json.at("communicators")) {
    const auto& added = dump.communicators.emplace_back(communicator_from(communicator));
    require(added.world_size <= ranks && added.rank >= 0 && added.rank < added.world_size,
            "the ranks of a communicator do not fit together");
  }
  for (const Json& call : json.at("calls")) {
    dump.calls.push_back(call_from(call));
    require(dump.calls.back().communicator < dump.communicators.size(), "a call of a communicator that is not listed");
  }
  return dump;
}

FlightDump read_dump(const fs::path& path) {
  const std::string text = read_file(path);
  try {
    return dump_from(Json::parse(text));
  } catch (const std::exception& error) {
    throw IoError({.what = path.string(),
                   .why = fmt::format("it is not a flight recorder's file, or damaged: {}", error.what()),
                   .fix = "take it out of the folder to look at the other ranks"});
  }
}

bool is_dump(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with("flight-rank-") && name.ends_with(".json");
}

}  // namespace

std::vector<FlightDump> read_flight_dumps(const fs::path& folder) {
  std::error_code error;
  std::vector<FlightDump> dumps;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (is_dump(entry.path())) dumps.push_back(read_dump(entry.path()));
  }
  if (error || dumps.empty()) {
    throw UsageError({.what = folder.string(),
                      .why = error ? error.message() : "no flight-rank-*.json is in it",
                      .fix = "give the folder that the error message names: flight/ in the run folder, or what "
                             "LOCKSTEP_FLIGHT_DIR was set to"});
  }
  std::ranges::sort(dumps, {}, &FlightDump::rank);
  return dumps;
}

}  // namespace lockstep::launchers
