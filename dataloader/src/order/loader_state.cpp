// SPDX-License-Identifier: Apache-2.0
#include "order/loader_state.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "json_number.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

using nlohmann::json;

constexpr int kSchemaVersion = 2;

[[noreturn]] void refuse(std::string why, std::string fix) {
  throw CheckpointError({.what = "position of the data loader", .why = std::move(why), .fix = std::move(fix)});
}

json to_json(const std::vector<DamagedEntry>& damaged) {
  json list = json::array();
  for (const auto& entry : damaged) {
    list.push_back({{"source", entry.source}, {"sample", entry.sample}, {"why", entry.why}});
  }
  return list;
}

std::vector<DamagedEntry> damaged_from(const json& list) {
  std::vector<DamagedEntry> damaged;
  for (const auto& entry : list)
    damaged.push_back({entry.at("source"), whole_number(entry.at("sample")), entry.at("why")});
  return damaged;
}

// The saved entry of a source; null where there is none.
const json* find_source(const json& saved, const std::string& name) {
  for (const auto& entry : saved) {
    if (entry.at("name").get_ref<const std::string&>() == name) return &entry;
  }
  return nullptr;
}

SourcePosition position_of(const json& entry, const Source& source, std::int64_t samples_per_pass) {
  const std::string fingerprint = source.dataset->fingerprint();
  if (entry.at("fingerprint") != fingerprint) {
    refuse(fmt::format("the fingerprint of source \"{}\" is {} in the checkpoint and {} in this run", source.name,
                       entry.at("fingerprint").get<std::string>(), fingerprint),
           "resume with the same data, or give the source another name, under which it starts afresh");
  }
  SourcePosition position{.pass = whole_number(entry.at("pass")),
                          .position = whole_number(entry.at("position")),
                          .mixed = whole_number(entry.at("mixed"))};
  if (position.pass < 0 || position.mixed < 0 || position.position < 0 || position.position >= samples_per_pass) {
    refuse(fmt::format("position {} does not exist: a pass of source \"{}\" has {} samples", position.position,
                       source.name, samples_per_pass),
           "resume from another checkpoint, or give the source another name, under which it starts afresh");
  }
  return position;
}

bool same_mix(const json& saved, const std::vector<Source>& sources, const SampleStream& stream) {
  if (saved.size() != sources.size()) return false;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const json* entry = find_source(saved, sources[i].name);
    if (entry == nullptr || entry->at("weight") != stream.weight_of(i)) return false;
  }
  return true;
}

StreamPosition position_from(const json& state, const std::vector<Source>& sources, const SampleStream& stream) {
  StreamPosition position{.epoch = whole_number(state.at("epoch")),
                          .step_in_epoch = whole_number(state.at("step_in_epoch")),
                          .samples_in_epoch = whole_number(state.at("samples_in_epoch")),
                          .sources = {}};
  const json& saved = state.at("sources");
  const bool mixed_on = same_mix(saved, sources, stream);
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const json* entry = find_source(saved, sources[i].name);
    position.sources.push_back(entry == nullptr ? SourcePosition{}
                                                : position_of(*entry, sources[i], stream.samples_per_pass(i)));
    if (!mixed_on) position.sources.back().mixed = 0;  // other weights count from here on
  }
  if (position.epoch < 0 || position.step_in_epoch < 0 || position.samples_in_epoch < 0 ||
      (mixed_on && position.samples_in_epoch >= stream.epoch_samples())) {
    refuse(fmt::format("epoch {}, sample {} does not exist: an epoch has {} samples", position.epoch,
                       position.samples_in_epoch, stream.epoch_samples()),
           "resume from another checkpoint");
  }
  if (position.samples_in_epoch >= stream.epoch_samples()) {  // the sources that are left make a shorter epoch
    position = {.epoch = position.epoch + 1, .step_in_epoch = 0, .samples_in_epoch = 0, .sources = position.sources};
  }
  stream.check(position);
  return position;
}

}  // namespace

std::string to_json_text(const LoaderState& state, const std::vector<Source>& sources, const SampleStream& stream) {
  json document{{"schema_version", kSchemaVersion},
                {"seed", state.seed},
                {"epoch", state.position.epoch},
                {"step_in_epoch", state.position.step_in_epoch},
                {"samples_in_epoch", state.position.samples_in_epoch},
                {"sources", json::array()},
                {"damaged", to_json(state.damaged)}};
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const SourcePosition& at = state.position.sources[i];
    document["sources"].push_back({{"name", sources[i].name},
                                   {"fingerprint", sources[i].dataset->fingerprint()},
                                   {"weight", stream.weight_of(i)},
                                   {"pass", at.pass},
                                   {"position", at.position},
                                   {"mixed", at.mixed}});
  }
  return document.dump();
}

LoaderState from_json_text(std::string_view text, std::uint64_t seed, const std::vector<Source>& sources,
                           const SampleStream& stream) {
  try {
    const json state = json::parse(text);
    if (state.at("schema_version") != kSchemaVersion) {
      refuse(fmt::format("its schema_version is {}, and this program knows {}", state.at("schema_version").dump(),
                         kSchemaVersion),
             "resume with the version of lockstep that wrote it");
    }
    if (state.at("seed") != seed) {
      refuse(fmt::format("seed is {} in the checkpoint and {} in this run", state.at("seed").dump(), seed),
             "resume with the same seed, or start a new run");
    }
    return {
        .seed = seed, .position = position_from(state, sources, stream), .damaged = damaged_from(state.at("damaged"))};
  } catch (const json::exception& error) {
    refuse(error.what(), "resume from another checkpoint");
  } catch (const UsageError& error) {
    refuse(error.text().why, "resume from another checkpoint");
  }
}

std::string to_json_text(const std::vector<DamagedEntry>& damaged) { return to_json(damaged).dump(); }

std::vector<DamagedEntry> damaged_from_json_text(std::string_view text) {
  try {
    return damaged_from(json::parse(text));
  } catch (const json::exception& error) {
    refuse(error.what(), "run the same version of lockstep on every rank");
  }
}

}  // namespace lockstep
