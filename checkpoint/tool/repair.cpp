// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "commands.hpp"
#include "failure.hpp"
#include "format/manifest.hpp"
#include "format/part_layout.hpp"
#include "format/step_folder.hpp"
#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/checkpoint/writer.hpp"
#include "place.hpp"
#include "read/stored_file.hpp"
#include "write/commit.hpp"
#include "write/file_work.hpp"
#include "write/small_file.hpp"

namespace lockstep::tool {
namespace {

namespace fs = std::filesystem;

// Why `path` is not a good checkpoint of that step; nothing if it is one.
std::optional<std::string> damage_of(const fs::path& path, std::int64_t step, int threads) {
  try {
    const Checkpoint checkpoint = Checkpoint::open(path);
    checkpoint.verify(threads);
    if (checkpoint.step() == step) return std::nullopt;
    return fmt::format("{}: its MANIFEST says step {}", path.string(), checkpoint.step());
  } catch (const CannotLook&) {
    throw;
  } catch (const CheckpointError& error) {
    return error.what();
  }
}

bool is_good(const StoredFile& file, const FileRecord& record) {
  if (file.bytes() != record.bytes) return false;
  for (std::size_t block = 0; block < record.block_crcs.size(); ++block) {
    const std::uint64_t first = block * kBlockBytes;
    if (file.checksum(first, std::min(kBlockBytes, record.bytes - first)) != record.block_crcs[block]) return false;
  }
  return true;
}

// MANIFEST, if all files but index.h5 are as it says.
std::optional<Manifest> manifest_with_good_parts(const fs::path& path) {
  try {
    const fs::path file = path / kManifestName;
    Manifest manifest = parse_manifest(read_file(file), file);
    const bool is_ours = manifest.block_bytes == kBlockBytes && manifest.files.back().name == kIndexName;
    if (!is_ours) return std::nullopt;  // version 1 has no index
    for (const FileRecord& record : std::span(manifest.files).first(manifest.files.size() - 1)) {
      if (!is_good(StoredFile(path / record.name), record)) return std::nullopt;
    }
    return manifest;
  } catch (const Error&) {
    return std::nullopt;
  }
}

// Another libhdf5 may lay index.h5 out differently than the one that wrote it: then MANIFEST gets its new checksums.
// index.h5 goes first: in between, the checkpoint is damaged as it was.
bool rebuild_index(const fs::path& path) {
  std::optional<Manifest> manifest = manifest_with_good_parts(path);
  if (!manifest) return false;
  const FileRecord old = std::move(manifest->files.back());
  manifest->files.pop_back();
  const std::vector<std::byte> index = index_file(*manifest);
  const FileRecord fresh{.name = kIndexName, .bytes = index.size(), .block_crcs = block_crcs(index)};
  manifest->files.push_back(fresh);
  replace_file(path / kIndexName, index);
  if (fresh == old) return true;
  const std::string text = print_manifest(*manifest);
  replace_file(path / kManifestName, std::as_bytes(std::span(text)));
  return true;
}

// What killed writers and deletions left.
Json remove_rest(const fs::path& folder) {
  Json removed = Json::array();
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (is_unfinished_name(name)) removed.push_back(name);
  }
  if (fs::is_directory(folder / ".trash") && !fs::is_empty(folder / ".trash")) removed.push_back(".trash");
  remove_unfinished_checkpoints(folder);
  return removed;
}

void rewrite_latest(const fs::path& folder, const std::vector<std::int64_t>& good) {
  if (good.empty()) {
    fs::remove(folder / kLatestName);
  } else {
    write_latest(folder, *std::ranges::max_element(good));
  }
}

void print_text(const Json& found) {
  for (const auto& name : found["removed"]) fmt::print("removed {}\n", name.get<std::string>());
  for (const auto& step : found["rebuilt"]) fmt::print("rebuilt index.h5 of step {}\n", step.dump());
  for (const auto& damaged : found["set_aside"]) {
    fmt::print("set aside {}: {}\n", damaged["path"].get<std::string>(), damaged["why"].get<std::string>());
  }
  fmt::print("{} good checkpoints\n", found["good"].size());
}

}  // namespace

int repair(const std::string& given, int threads, bool json) {
  const fs::path folder = checkpoints_folder(given);
  const auto lock = lock_run_folder(folder);
  Json found{{"folder", folder.string()},
             {"good", Json::array()},
             {"removed", remove_rest(folder)},
             {"rebuilt", Json::array()},
             {"set_aside", Json::array()}};
  std::vector<std::int64_t> good;
  for (const std::int64_t step : list_checkpoints(folder)) {
    const fs::path path = checkpoint_path(folder, step);
    auto damage = damage_of(path, step, threads);
    if (damage && rebuild_index(path)) {
      damage = damage_of(path, step, threads);
      if (!damage) found["rebuilt"].push_back(step);
    }
    if (damage) {
      found["set_aside"].push_back({{"path", set_aside(path).string()}, {"why", *damage}});
    } else {
      good.push_back(step);
    }
  }
  rewrite_latest(folder, good);
  found["good"] = good;
  if (json) {
    print(found);
  } else {
    print_text(found);
  }
  return found["set_aside"].empty() ? 0 : kDiffers;
}

}  // namespace lockstep::tool
