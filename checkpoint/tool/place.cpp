// SPDX-License-Identifier: Apache-2.0
#include "place.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>

#include "format/manifest.hpp"
#include "format/step_folder.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::tool {
namespace {

namespace fs = std::filesystem;

// Without the last slash, so that it has a last name.
fs::path path_of(const std::string& given) {
  if (given.empty()) throw UsageError({.what = "the path", .why = "it is empty", .fix = "give a folder"});
  const fs::path path = fs::absolute(fs::path(given)).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

fs::path checkpoints_folder(const std::string& given) {
  const fs::path path = path_of(given);
  if (step_of_name(path.filename().string()) && fs::exists(path / kManifestName)) {
    throw UsageError({.what = given,
                      .why = "it is one checkpoint, and this is done to a folder of them",
                      .fix = fmt::format("give {}", path.parent_path().string())});
  }
  if (fs::is_directory(path / "checkpoints")) return path / "checkpoints";
  if (fs::is_directory(path)) return path;
  throw UsageError({.what = given, .why = "there is no such folder", .fix = "give a run folder, or its checkpoints/"});
}

std::optional<fs::path> as_checkpoint(const std::string& given) {
  fs::path path = path_of(given);
  const bool is_one = step_of_name(path.filename().string()).has_value() || fs::exists(path / kManifestName);
  return is_one ? std::optional(std::move(path)) : std::nullopt;
}

Checkpoint open_checkpoint(const std::string& given) {
  if (const auto path = as_checkpoint(given)) {
    if (fs::is_directory(*path)) return Checkpoint::open(*path);
    throw UsageError(
        {.what = given, .why = "there is no such checkpoint", .fix = "lockstep ckpt ls FOLDER lists them"});
  }
  const fs::path folder = checkpoints_folder(given);
  const auto steps = list_checkpoints(folder);
  if (steps.empty()) {
    throw UsageError({.what = given, .why = "there is no checkpoint in it", .fix = "give another folder"});
  }
  return Checkpoint::open(checkpoint_path(folder, steps.front()));
}

std::optional<FileLock> lock_run_folder(const fs::path& folder) {
  const fs::path lock = folder.parent_path() / "lock";
  if (folder.filename() != "checkpoints" || !fs::exists(lock)) return std::nullopt;
  FileLock held = FileLock::try_lock(lock, fmt::format("lockstep ckpt, process {}", ::getpid()));
  if (held.held()) return held;
  throw UsageError({.what = fmt::format("run folder {}", folder.parent_path().string()),
                    .why = fmt::format("a job is using it ({})", held.other_holder()),
                    .fix = "wait for that job, or stop it"});
}

void print(const Json& found) { fmt::print("{}\n", found.dump(2, ' ', false, Json::error_handler_t::replace)); }

std::string shape_text(const std::vector<std::int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::uint64_t bytes_of(const StoredTensor& tensor) { return lockstep::bytes_of(tensor.dtype, tensor.shape).value(); }

}  // namespace lockstep::tool
