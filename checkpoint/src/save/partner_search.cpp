// SPDX-License-Identifier: Apache-2.0
#include "save/partner_search.hpp"

#include <algorithm>
#include <span>
#include <tuple>

#include "failure.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/hash.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "read/stored_file.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// Nothing if there is none, or it is damaged.
std::optional<std::string> manifest_text(const fs::path& checkpoint, std::int64_t step) {
  const fs::path path = checkpoint / kManifestName;
  try {
    std::string text = read_manifest(open_folder(checkpoint), path);
    const Manifest manifest = parse_manifest(text, path);
    if (manifest.step == step && manifest.block_bytes == kBlockBytes) return text;  // as PartnerSaver writes them
  } catch (const CannotLook&) {
    throw;
  } catch (const CheckpointError&) {
  } catch (const IoError&) {
  }
  return std::nullopt;
}

bool is_good(const fs::path& path, const FileRecord& record, std::uint64_t block_bytes) {
  try {
    const StoredFile file(path);
    if (file.bytes() != record.bytes) return false;
    std::uint64_t at = 0;
    return std::ranges::all_of(record.block_crcs, [&](std::uint32_t crc) {
      const std::uint64_t bytes = std::min(block_bytes, record.bytes - at);
      at += bytes;
      return file.checksum(at - bytes, bytes) == crc;
    });
  } catch (const IoError&) {
    return false;
  }
}

}  // namespace

ManifestSearch::ManifestSearch(const std::vector<fs::path>& folders) {
  for (const fs::path& folder : folders) {
    for (const std::int64_t step : list_checkpoints(folder)) {
      auto text = manifest_text(checkpoint_path(folder, step), step);
      if (!text) continue;
      const auto hash = static_cast<std::int64_t>(fnv1a(*text) >> 1);  // not negative
      found_.push_back({step, hash, std::move(*text)});
    }
  }
  const auto key = [](const Found& found) { return std::tie(found.step, found.hash); };
  std::ranges::sort(found_, {}, key);
  const auto same = [&](const Found& a, const Found& b) { return key(a) == key(b); };
  found_.erase(std::unique(found_.begin(), found_.end(), same), found_.end());
}

std::optional<std::string> ManifestSearch::next(Communicator& world) {
  const auto newest = [&](std::int64_t own) {
    world.all_reduce({&own, 1, DType::int64}, ReduceOp::max).wait();
    return own;
  };
  const std::int64_t step = newest(found_.empty() ? -1 : found_.back().step);
  if (step < 0) return std::nullopt;
  const bool has_step = !found_.empty() && found_.back().step == step;
  const std::int64_t hash = newest(has_step ? found_.back().hash : -1);
  const bool has_it = has_step && found_.back().hash == hash;
  const auto owner = newest(has_it ? world.rank() : -1);
  std::string text;
  if (has_it) {
    text = std::move(found_.back().text);
    found_.pop_back();
  }
  return world.broadcast(text, static_cast<int>(owner));
}

FileHoldings::FileHoldings(const Placement& placement, int rank, const Manifest& manifest, const std::string& text,
                           const std::vector<fs::path>& folders)
    : placement_(placement),
      files_(manifest.files.size()),
      found_(files_),
      held_(static_cast<std::size_t>(placement.nodes()) * (files_ + 1)) {
  const int node = placement.node_of(rank);
  const auto state = [&](const fs::path& folder) {
    return static_cast<std::int64_t>(folder == folders.front() ? Held::in_place : Held::elsewhere);
  };
  for (std::size_t file = 0; file < files_; ++file) {
    if (placement.keeper(node, file) != rank) continue;
    const FileRecord& record = manifest.files[file];
    for (const fs::path& folder : folders) {
      const fs::path path = checkpoint_path(folder, manifest.step) / record.name;
      if (!is_good(path, record, manifest.block_bytes)) continue;
      found_[file] = path;
      held_[at(node, file)] = state(folder);
      break;
    }
  }
  if (placement.first_rank_of(node) != rank) return;
  if (manifest_text(checkpoint_path(folders.front(), manifest.step), manifest.step) == text) {
    held_[at(node, files_)] = static_cast<std::int64_t>(Held::in_place);
  }
}

void FileHoldings::exchange(Communicator& world) {
  world.all_reduce({held_.data(), static_cast<std::int64_t>(held_.size()), DType::int64}, ReduceOp::max).wait();
}

FileHoldings::Held FileHoldings::held(int node, std::size_t file) const {
  return static_cast<Held>(held_[at(node, file)]);
}

bool FileHoldings::is_whole(int node) const {
  return std::ranges::all_of(std::span(held_).subspan(at(node, 0), files_ + 1),
                             [](std::int64_t held) { return held == static_cast<std::int64_t>(Held::in_place); });
}

std::vector<std::size_t> FileHoldings::lost() const {
  std::vector<std::size_t> files;
  for (std::size_t file = 0; file < files_; ++file) {
    bool is_lost = true;
    for (int node = 0; node < placement_.nodes(); ++node) is_lost = is_lost && held(node, file) == Held::no;
    if (is_lost) files.push_back(file);
  }
  return files;
}

// Of the nodes that have a file, the one that has sent least sends it.
std::vector<FileMove> FileHoldings::moves(const Manifest& manifest) const {
  std::vector<FileMove> moves;
  std::vector<std::uint64_t> sent(static_cast<std::size_t>(placement_.nodes()));
  for (std::size_t file = 0; file < files_; ++file) {
    for (int to = 0; to < placement_.nodes(); ++to) {
      if (held(to, file) != Held::no) continue;
      int from = -1;
      for (int node = 0; node < placement_.nodes(); ++node) {
        if (held(node, file) == Held::no) continue;
        if (from < 0 || sent[static_cast<std::size_t>(node)] < sent[static_cast<std::size_t>(from)]) from = node;
      }
      sent[static_cast<std::size_t>(from)] += manifest.files[file].bytes;
      moves.push_back({file, placement_.keeper(from, file), placement_.keeper(to, file)});
    }
  }
  return moves;
}

}  // namespace lockstep
