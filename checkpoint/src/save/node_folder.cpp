// SPDX-License-Identifier: Apache-2.0
#include "save/node_folder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "failure.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/checkpoint/writer.hpp"
#include "write/commit.hpp"
#include "write/small_file.hpp"
#include "write/trash.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "node-";

bool is_node_name(const std::string& name) {
  return name.starts_with(kPrefix) && name.size() > kPrefix.size() &&
         std::ranges::all_of(name.substr(kPrefix.size()), [](char c) { return c >= '0' && c <= '9'; });
}

bool is_own_folder(const fs::path& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == ::geteuid();
}

void remove_checkpoint(const fs::path& folder, const fs::path& checkpoint) {
  move_to_trash(folder, checkpoint);
  empty_trash(folder);
}

// Runs `change`; what it throws is a warning.
template <class Change>
SaveOutcome with_warning(std::int64_t step, Change&& change) {
  SaveOutcome outcome{.step = step};
  try {
    change(outcome);
  } catch (const std::exception& error) {
    outcome.warnings.push_back(fmt::format("old checkpoints of the node were not removed: {}", error.what()));
  }
  return outcome;
}

}  // namespace

fs::path node_folder(const fs::path& folder, int number) { return folder / fmt::format("{}{}", kPrefix, number); }

void prepare_node_folder(const fs::path& node_folder) {
  make_folders(node_folder);
  if (!is_own_folder(node_folder)) {
    throw UsageError({.what = fmt::format("use {} for partner copies", node_folder.string()),
                      .why = "it is no folder, or it is another user's",
                      .fix = "choose another folder, or remove this one"});
  }
  remove_unfinished_checkpoints(node_folder);
}

std::vector<fs::path> node_folders(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (is_node_name(entry->path().filename().string()) && is_own_folder(entry->path())) found.push_back(entry->path());
  }
  if (error && error != std::errc::no_such_file_or_directory) throw_errno("look into", folder, error.value());
  std::ranges::sort(found);
  return found;
}

fs::path put_in_place(const fs::path& unfinished, std::int64_t step) {
  const fs::path folder = unfinished.parent_path();
  fs::path path = checkpoint_path(folder, step);
  if (!is_taken(path)) {
    if (::rename(unfinished.c_str(), path.c_str()) != 0) throw_errno("rename", unfinished);
  } else if (::renameat2(AT_FDCWD, unfinished.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) {
    fsync_path(folder);
    discard(unfinished);  // it has the old one now
  } else {                // a file system that cannot exchange two
    move_to_trash(folder, path);
    if (::rename(unfinished.c_str(), path.c_str()) != 0) throw_errno("rename", unfinished);
    empty_trash(folder);
  }
  fsync_path(folder);
  return path;
}

SaveOutcome commit_on_node(const fs::path& unfinished, Manifest manifest, KeptIndex& index) {
  SaveOutcome outcome{.step = manifest.step};
  try {
    seal(unfinished, std::move(manifest), index);
    outcome.path = put_in_place(unfinished, outcome.step);
  } catch (const std::exception& error) {
    outcome.failure = failure_text(error);
  }
  if (!outcome.failure.empty()) discard(unfinished);
  return outcome;
}

SaveOutcome retain_on_node(const fs::path& node_folder, std::int64_t step, int keep_last) {
  return with_warning(step, [&](SaveOutcome& outcome) {
    int kept = 0;
    for (const std::int64_t other : list_checkpoints(node_folder)) {  // newest first
      if (other > step || kept++ < keep_last) continue;
      remove_checkpoint(node_folder, checkpoint_path(node_folder, other));
      outcome.removed.insert(outcome.removed.begin(), other);
    }
  });
}

SaveOutcome withdraw_on_node(const fs::path& node_folder, std::int64_t step) {
  return with_warning(step, [&](SaveOutcome&) {
    const fs::path path = checkpoint_path(node_folder, step);
    if (is_taken(path)) remove_checkpoint(node_folder, path);
  });
}

}  // namespace lockstep
