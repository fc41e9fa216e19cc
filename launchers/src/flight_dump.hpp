// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

// The files of the flight recorder (docs/flight_recorder.md), as `lockstep recorder merge` reads them.
namespace lockstep::launchers {

// Times are nanoseconds since the Unix epoch; 0: has not happened.
struct FlightCall {
  std::size_t communicator = 0;  // index in its dump
  std::uint64_t sequence = 0;
  std::string kind{};
  int root = -1;        // of send and receive: the other rank
  std::string text{};   // "all_reduce #7 (400 × float32, sum, 3 leaves)"
  std::string label{};  // of its data
  std::string state{};  // published, moving, done, failed
  std::int64_t started = 0;
  std::int64_t moved = 0;
  std::int64_t ended = 0;
  std::map<std::string, std::string> fingerprint{};  // field to JSON text

  [[nodiscard]] bool is_message() const { return kind == "send" || kind == "receive"; }
  [[nodiscard]] bool done() const { return state == "done"; }
};

struct FlightFailure {
  std::string kind{};  // mismatch, timeout, peer_died, aborted, native
  std::string why{};
  std::int64_t time = 0;
};

struct FlightCommunicator {
  std::string id{};
  std::string name{};
  int rank = 0;  // of the dump's rank in it
  int world_size = 1;
  std::uint64_t collectives = 0;  // called so far
  std::optional<FlightFailure> failure{};
};

struct FlightDump {
  int rank = 0;
  int world_size = 1;
  std::string host{};
  std::int64_t pid = 0;
  std::int64_t time = 0;
  std::vector<std::pair<std::string, std::int64_t>> ranks{};  // host and pid, by rank
  std::vector<FlightCommunicator> communicators{};
  std::vector<FlightCall> calls{};
};

// Those in `folder`, ordered by rank. Throws UsageError if there are none, IoError for one that cannot be understood.
[[nodiscard]] std::vector<FlightDump> read_flight_dumps(const std::filesystem::path& folder);

}  // namespace lockstep::launchers
