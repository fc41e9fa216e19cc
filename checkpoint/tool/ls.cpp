// SPDX-License-Identifier: Apache-2.0
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>

#include "commands.hpp"
#include "failure.hpp"
#include "format/manifest.hpp"
#include "format/step_folder.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/monitor/text.hpp"
#include "place.hpp"

namespace lockstep::tool {
namespace {

namespace fs = std::filesystem;

// Of MANIFEST, which is written last; else of the folder.
std::string time_of(const fs::path& path) {
  struct stat status {};
  if (::stat((path / kManifestName).c_str(), &status) != 0 && ::stat(path.c_str(), &status) != 0) return "";
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(status.st_mtime));
}

Json metrics_of(const Checkpoint& checkpoint) {
  Json metrics = Json::object();
  for (const auto& [name, value] : checkpoint.metrics()) metrics[name] = value;
  return metrics;
}

Json describe_step(const fs::path& path, std::int64_t step, bool verify, int threads) {
  Json entry{{"name", path.filename().string()}, {"step", step}, {"time", time_of(path)}};
  try {
    const Checkpoint checkpoint = Checkpoint::open(path);
    if (verify) checkpoint.verify(threads);
    entry["bytes"] = checkpoint.bytes();
    entry["world_size"] = checkpoint.world_size();
    entry["micro_batches"] = checkpoint.determinism().micro_batches;
    entry["metrics"] = metrics_of(checkpoint);
    entry["state"] = "ok";
  } catch (const CannotLook&) {
    throw;
  } catch (const CheckpointError& error) {
    entry["state"] = "damaged";
    entry["why"] = error.what();
  }
  return entry;
}

// What no search looks at: of killed writers, and what was set aside.
Json describe_rest(const fs::path& folder) {
  std::vector<fs::path> rest;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (is_unfinished_name(name) || (name.find(".damaged-") != std::string::npos && entry.is_directory())) {
      rest.push_back(entry.path());
    }
  }
  std::ranges::sort(rest);
  Json described = Json::array();
  for (const auto& path : rest) {
    const std::string name = path.filename().string();
    described.push_back(
        {{"name", name}, {"time", time_of(path)}, {"state", is_unfinished_name(name) ? "unfinished" : "set aside"}});
  }
  return described;
}

void print_entry(const Json& entry) {
  const bool opened = entry.contains("bytes");
  std::string metrics;
  if (opened) {
    for (const auto& [name, value] : entry["metrics"].items()) metrics += fmt::format(" {}={}", name, value.dump());
  }
  fmt::print("{:<30} {:<20}  {:>10}  {:>5}  {:>4}  {}{}\n", entry["name"].get<std::string>(),
             entry["time"].get<std::string>(), opened ? monitor::bytes_text(entry["bytes"].get<double>()) : "",
             opened ? entry["world_size"].dump() : "", opened ? entry["micro_batches"].dump() : "",
             entry["state"].get<std::string>(), metrics);
  if (entry.contains("why")) fmt::print("  {}\n", entry["why"].get<std::string>());
}

}  // namespace

int ls(const std::string& given, bool verify, int threads, bool json) {
  const fs::path folder = checkpoints_folder(given);
  auto steps = list_checkpoints(folder);
  std::ranges::reverse(steps);
  Json entries = Json::array();
  bool damaged = false;
  for (const std::int64_t step : steps) {
    entries.push_back(describe_step(checkpoint_path(folder, step), step, verify, threads));
    damaged = damaged || entries.back()["state"] == "damaged";
  }
  for (auto& entry : describe_rest(folder)) entries.push_back(std::move(entry));
  if (json) {
    print({{"folder", folder.string()}, {"verified", verify}, {"checkpoints", entries}});
  } else {
    fmt::print("{:<30} {:<20}  {:>10}  {:>5}  {:>4}  {}\n", "checkpoint", "written", "size", "ranks", "M", "state");
    for (const auto& entry : entries) print_entry(entry);
  }
  return damaged ? kDiffers : 0;
}

}  // namespace lockstep::tool
