// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "commands.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/monitor/text.hpp"
#include "place.hpp"

namespace lockstep::tool {
namespace {

namespace fs = std::filesystem;

// The newest one stays with any rule; a quota alone takes away only what is too much.
RetentionPolicy complete(RetentionPolicy policy) {
  const bool keeps_some = policy.keep_every > 0 || policy.keep_best > 0;
  if (policy.keep_last == 0 && keeps_some) policy.keep_last = 1;
  if (policy.keep_last == 0 && policy.quota_bytes == 0) {
    throw UsageError({.what = "prune",
                      .why = "no rule says what may go",
                      .fix = "give --keep-last, --keep-every, --keep-best or --quota"});
  }
  return policy;
}

void print_text(const Json& found) {
  for (const auto& reason : found["damaged"]) fmt::print("damaged: {}\n", reason.get<std::string>());
  for (const auto& step : found["removed"]) {
    fmt::print("{} step {}\n", found["dry_run"].get<bool>() ? "would remove" : "removed", step.dump());
  }
  fmt::print("{} removed, {} kept\n", found["removed"].size(), found["kept"].size());
}

}  // namespace

int prune(const PruneArguments& arguments, bool json) {
  const RetentionPolicy policy = complete(arguments.policy);
  const fs::path folder = checkpoints_folder(arguments.folder);
  const auto lock = lock_run_folder(folder);
  const CheckpointSearch search = find_checkpoint(folder, arguments.threads);
  Json found{{"folder", folder.string()},
             {"dry_run", arguments.dry_run},
             {"removed", Json::array()},
             {"kept", list_checkpoints(folder)},
             {"damaged", Json::array()}};
  for (const DamagedCheckpoint& damaged : search.damaged) found["damaged"].push_back(damaged.reason);
  if (search.newest_good) {  // else nothing goes: the damaged ones are all there is
    const std::int64_t verified = search.newest_good->step();
    const auto planned = plan_retention(folder, policy, verified);
    found["removed"] = arguments.dry_run ? planned : apply_retention(folder, policy, verified);
    std::vector<std::int64_t> kept;
    for (const auto& step : found["kept"]) {
      if (std::ranges::find(planned, step.get<std::int64_t>()) == planned.end()) kept.push_back(step);
    }
    found["kept"] = kept;
  }
  if (json) {
    print(found);
  } else {
    print_text(found);
  }
  return search.damaged.empty() ? 0 : kDiffers;
}

}  // namespace lockstep::tool
