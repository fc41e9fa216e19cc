// SPDX-License-Identifier: Apache-2.0
#include "write/trash.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <random>
#include <vector>

#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "write/small_file.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

fs::path trash_of(const fs::path& folder) { return folder / ".trash"; }

// Through a link, checkpoints would leave their folder and its file system.
bool is_real_folder(const fs::path& path) { return fs::is_directory(fs::symlink_status(path)); }

}  // namespace

void move_to_trash(const fs::path& folder, const fs::path& checkpoint) {
  const fs::path trash = trash_of(folder);
  if (::mkdir(trash.c_str(), 0700) != 0 && errno != EEXIST) throw_errno("mkdir", trash);
  if (!is_real_folder(trash)) {
    throw IoError({.what = fmt::format("move {} to {}", checkpoint.string(), trash.string()),
                   .why = "that is no folder",
                   .fix = "remove it"});
  }
  fs::rename(checkpoint, trash / fmt::format("{}-{:08x}", checkpoint.filename().string(), std::random_device{}()));
  fsync_path(trash);
  fsync_path(folder);
}

void empty_trash(const fs::path& folder) {
  const fs::path trash = trash_of(folder);
  if (!is_real_folder(trash)) return;
  std::vector<fs::path> entries;
  for (const fs::directory_entry& entry : fs::directory_iterator(trash)) entries.push_back(entry.path());
  for (const fs::path& path : entries) fs::remove_all(path);
}

}  // namespace lockstep
