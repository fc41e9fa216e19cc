// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "failure.hpp"
#include "format/step_folder.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/checkpoint/reader.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

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

}  // namespace

CheckpointSearch find_checkpoint(const fs::path& folder) {
  try {
    CheckpointSearch search;
    for (const std::int64_t step : steps_newest_first(folder)) {
      try {
        search.newest_good = open_step(folder, step);
        break;
      } catch (const CheckpointError& error) {
        search.damaged.push_back({folder / step_name(step), error.what()});
      }
    }
    return search;
  } catch (...) {
    rethrow_as_checkpoint_error(fmt::format("look for checkpoints in {}", folder.string()), "check its permissions");
  }
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
