// SPDX-License-Identifier: Apache-2.0
#include "write/commit.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <random>
#include <utility>

#include "failure.hpp"
#include "format/step_folder.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "write/file_work.hpp"
#include "write/small_file.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// A rank that wrote into a folder of the same name on another host has left nothing here.
void check_files(const fs::path& folder, const Manifest& manifest) {
  for (const FileRecord& file : manifest.files) {
    const fs::path path = folder / file.name;
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) throw_errno("look at", path);
    if (S_ISREG(status.st_mode) && static_cast<std::uint64_t>(status.st_size) == file.bytes) continue;
    throw IoError({.what = fmt::format("look at {}", path.string()),
                   .why = fmt::format("it has {} bytes here, and its writer wrote {}", status.st_size, file.bytes),
                   .fix = "use a folder that all hosts share"});
  }
}

void add_index(const fs::path& folder, Manifest& manifest, KeptIndex& index) {
  const std::vector<std::byte>& bytes = index.of(manifest);
  write_new_file(folder / kIndexName, bytes);
  manifest.files.push_back({.name = kIndexName, .bytes = bytes.size(), .block_crcs = block_crcs(bytes)});
}

}  // namespace

bool holds_good_checkpoint(const fs::path& path, std::int64_t step) {
  if (!is_taken(path)) return false;
  try {
    const Checkpoint checkpoint = Checkpoint::open(path);
    checkpoint.verify();
    return checkpoint.step() == step;
  } catch (const CannotLook&) {
    throw;
  } catch (const CheckpointError&) {
    return false;
  }
}

void write_latest(const fs::path& folder, std::int64_t step) {
  const std::string line = step_name(step) + '\n';
  replace_file(folder / kLatestName, std::as_bytes(std::span(line)));
}

fs::path make_unfinished_folder(const fs::path& folder, std::int64_t step) {
  make_folders(folder);
  const fs::path path =
      folder / fmt::format("{}{}{}-{:08x}", step_name(step), kUnfinishedMark, ::getpid(), std::random_device{}());
  if (::mkdir(path.c_str(), 0700) != 0) throw_errno("mkdir", path);
  return path;
}

void seal(const fs::path& unfinished, Manifest manifest, KeptIndex& index) {
  add_index(unfinished, manifest, index);
  // Last, because a folder with a manifest claims to be complete.
  const std::string text = print_manifest(manifest);
  write_new_file(unfinished / kManifestName, std::as_bytes(std::span(text)));
  fsync_path(unfinished);
}

fs::path commit(const fs::path& unfinished, Manifest manifest, KeptIndex& index, std::vector<std::string>& warnings) {
  const fs::path folder = unfinished.parent_path();
  const std::int64_t step = manifest.step;
  const fs::path path = checkpoint_path(folder, step);
  check_files(unfinished, manifest);
  seal(unfinished, std::move(manifest), index);
  if (holds_good_checkpoint(path, step)) {
    discard(unfinished);
    warnings.push_back(fmt::format("{} existed and is good: it was kept, and the new one discarded", path.string()));
    return path;
  }
  if (is_taken(path)) {
    warnings.push_back(fmt::format("{} was damaged: it is now {}", path.string(), set_aside(path).string()));
  }
  if (::rename(unfinished.c_str(), path.c_str()) != 0) throw_errno("rename", unfinished);
  fsync_path(folder);
  try {
    write_latest(folder, step);
  } catch (const IoError& error) {
    warnings.emplace_back(error.what());
  }
  return path;
}

void discard(const fs::path& unfinished) noexcept {
  try {
    fs::remove_all(unfinished);
  } catch (const std::exception&) {  // remove_unfinished_checkpoints() will
  }
}

}  // namespace lockstep
