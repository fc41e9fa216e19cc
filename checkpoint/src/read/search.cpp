// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "failure.hpp"
#include "format/step_folder.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/checkpoint/reader.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCheckAccess = "check that it is a folder, its permissions and its file system";

// Folders only: a symbolic link is not followed, it may lead to a checkpoint of another run.
std::vector<std::int64_t> steps_newest_first(const fs::path& folder) {
  std::vector<std::int64_t> steps;
  if (!fs::exists(folder)) return steps;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const auto step = step_of_name(entry.path().filename().string());
    if (step && fs::is_directory(entry.symlink_status())) steps.push_back(*step);
  }
  std::ranges::sort(steps, std::greater{});
  return steps;
}

Checkpoint open_verified(const fs::path& path, std::int64_t step, int threads) {
  Checkpoint checkpoint = Checkpoint::open(path);
  if (checkpoint.step() != step) {
    throw CheckpointError({.what = fmt::format("open checkpoint {}", path.string()),
                           .why = fmt::format("its MANIFEST says step {}", checkpoint.step()),
                           .fix = fmt::format("rename it to {}", step_name(checkpoint.step()))});
  }
  checkpoint.verify(threads);
  return checkpoint;
}

}  // namespace

fs::path checkpoint_path(const fs::path& folder, std::int64_t step) { return folder / step_name(step); }

std::vector<std::int64_t> list_checkpoints(const fs::path& folder) {
  try {
    return steps_newest_first(folder);
  } catch (...) {
    rethrow_as_checkpoint_error(fmt::format("look for checkpoints in {}", folder.string()), kCheckAccess);
  }
}

CheckpointSearch find_checkpoint(const fs::path& folder, int threads) {
  CheckpointSearch search;
  for (const std::int64_t step : list_checkpoints(folder)) {
    const fs::path path = checkpoint_path(folder, step);
    try {
      search.newest_good = open_verified(path, step, threads);
      break;
    } catch (const CannotLook&) {
      throw;
    } catch (const CheckpointError& error) {
      search.damaged.push_back({path, error.what()});
    }
  }
  return search;
}

fs::path set_aside(const fs::path& checkpoint) {
  try {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
    fs::path target;
    do {  // a name that is taken was given within this second
      target = checkpoint;
      target += fmt::format(".damaged-{}", seconds++);
    } while (fs::exists(fs::symlink_status(target)));
    fs::rename(checkpoint, target);
    fsync_path(fs::absolute(target).parent_path());
    return target;
  } catch (...) {
    rethrow_as_checkpoint_error(fmt::format("set aside checkpoint {}", checkpoint.string()),
                                fmt::format("check the permissions of {}", checkpoint.parent_path().string()));
  }
}

}  // namespace lockstep
