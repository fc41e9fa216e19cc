// SPDX-License-Identifier: Apache-2.0
#include "recorder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "flight_dump.hpp"
#include "flight_verdict.hpp"

namespace lockstep::launchers {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kLastCalls = 5;

std::string state_text(const FlightCall& call, std::int64_t now) {
  const auto seconds = [](std::int64_t nanoseconds) { return static_cast<double>(nanoseconds) * 1e-9; };
  if (call.done()) return fmt::format("done after {:.6f} s", seconds(call.ended - call.started));
  return fmt::format("{} after {:.3f} s, {}", call.state == "failed" ? "failed" : "not done",
                     seconds(now - call.started), call.moved != 0 ? "data moved" : "no data moved");
}

// The last ones, and all that did not end.
std::vector<const FlightCall*> calls_to_show(const FlightDump& dump) {
  std::vector<const FlightCall*> shown;
  for (std::size_t i = 0; i < dump.calls.size(); ++i) {
    const bool last = i + kLastCalls >= dump.calls.size();
    if (last || !dump.calls[i].done()) shown.push_back(&dump.calls[i]);
  }
  return shown;
}

std::string table_of(const FlightDump& dump) {
  std::string text = fmt::format("\nrank {}/{} {} (pid {})\n", dump.rank, dump.world_size, dump.host, dump.pid);
  for (const FlightCommunicator& communicator : dump.communicators) {
    if (!communicator.failure) continue;
    text += fmt::format("  \"{}\" failed ({}): {}\n", communicator.name, communicator.failure->kind,
                        communicator.failure->why);
  }
  for (const FlightCall* const call : calls_to_show(dump)) {
    text += fmt::format("  {:>10.3f} s  {} on \"{}\": {}{}\n", static_cast<double>(call->started - dump.time) * 1e-9,
                        call->text, dump.communicators[call->communicator].name, state_text(*call, dump.time),
                        call->label.empty() ? "" : "; " + call->label);
  }
  return text;
}

std::string report(const std::vector<FlightFinding>& findings, const std::vector<FlightDump>& dumps) {
  std::string text = findings.empty() ? "no disagreement found\n" : findings.front().text + "\n";
  for (std::size_t i = 1; i < findings.size(); ++i) text += "also: " + findings[i].text + "\n";
  text += "\nlast calls, by the time before their file was written\n";
  for (const FlightDump& dump : dumps) text += table_of(dump);
  return text;
}

Json to_json(const FlightFinding& finding) {
  return {{"kind", name_of(finding.kind)},
          {"ranks", finding.ranks},
          {"communicator", finding.communicator},
          {"call", finding.call},
          {"text", finding.text}};
}

Json to_json(const FlightDump& dump) {
  Json json{{"rank", dump.rank}, {"host", dump.host}, {"pid", dump.pid}, {"time", dump.time}, {"calls", Json::array()}};
  for (const FlightCall* const call : calls_to_show(dump)) {
    json["calls"].push_back({{"communicator", dump.communicators[call->communicator].name},
                             {"text", call->text},
                             {"label", call->label},
                             {"state", call->state},
                             {"started", call->started}});
  }
  return json;
}

std::string json_report(const std::vector<FlightFinding>& findings, const std::vector<FlightDump>& dumps) {
  Json json{{"verdict", findings.empty() ? Json(nullptr) : to_json(findings.front())},
            {"also", Json::array()},
            {"ranks", Json::array()}};
  for (std::size_t i = 1; i < findings.size(); ++i) json["also"].push_back(to_json(findings[i]));
  for (const FlightDump& dump : dumps) json["ranks"].push_back(to_json(dump));
  return json.dump(2) + "\n";
}

}  // namespace

int merge_recorders(const RecorderMergeOptions& options) {
  const std::vector<FlightDump> dumps = read_flight_dumps(options.folder);
  const std::vector<FlightFinding> findings = judge_flight(dumps);
  fmt::print("{}", options.json ? json_report(findings, dumps) : report(findings, dumps));
  return findings.empty() ? 0 : 1;
}

}  // namespace lockstep::launchers
