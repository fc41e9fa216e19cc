// SPDX-License-Identifier: Apache-2.0
#include "lockstep/checkpoint/retention.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "failure.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "write/trash.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

using Newest = std::vector<CheckpointSummary>;  // newest first

bool is_among_newest(std::size_t index, int count) { return count <= 0 || index < static_cast<std::size_t>(count); }

std::set<std::int64_t> best_steps(const Newest& checkpoints, const RetentionPolicy& policy) {
  std::vector<CheckpointSummary> scored;
  for (const CheckpointSummary& checkpoint : checkpoints) {
    if (checkpoint.metric && !std::isnan(*checkpoint.metric)) scored.push_back(checkpoint);
  }
  std::ranges::stable_sort(scored, [&](const CheckpointSummary& a, const CheckpointSummary& b) {
    return policy.larger_is_better ? *a.metric > *b.metric : *a.metric < *b.metric;
  });
  scored.resize(std::min(scored.size(), static_cast<std::size_t>(std::max(policy.keep_best, 0))));
  std::set<std::int64_t> steps;
  for (const CheckpointSummary& checkpoint : scored) steps.insert(checkpoint.step);
  return steps;
}

// Takes checkpoints off `kept` until they fit the quota: the oldest of those that only keep_every and keep_best keep,
// then the oldest of the others. The newest stays.
void apply_quota(Newest& kept, const Newest& newest, const RetentionPolicy& policy) {
  const auto is_recent = [&](const CheckpointSummary& checkpoint) {
    const auto place = std::ranges::find(newest, checkpoint.step, &CheckpointSummary::step) - newest.begin();
    return is_among_newest(static_cast<std::size_t>(place), policy.keep_last);
  };
  std::uint64_t bytes = 0;
  for (const CheckpointSummary& checkpoint : kept) bytes += checkpoint.bytes;
  for (const bool recent : {false, true}) {
    for (std::size_t i = kept.size(); i-- > 1 && bytes > policy.quota_bytes;) {
      if (is_recent(kept[i]) != recent) continue;
      bytes -= kept[i].bytes;
      kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
}

// Those whose manifests can be read, up to the step `last`.
std::vector<CheckpointSummary> summaries(const fs::path& folder, const RetentionPolicy& policy, std::int64_t last) {
  std::vector<CheckpointSummary> result;
  for (const std::int64_t step : list_checkpoints(folder)) {
    if (step > last) continue;
    try {
      const Checkpoint checkpoint = Checkpoint::open(checkpoint_path(folder, step));
      if (checkpoint.step() != step) continue;
      CheckpointSummary summary{.step = step, .bytes = checkpoint.bytes()};
      for (const auto& [name, value] : checkpoint.metrics()) {
        if (name == policy.metric) summary.metric = value;
      }
      result.push_back(summary);
    } catch (const CheckpointError&) {  // damaged or of a newer schema: not ours to remove
    }
  }
  return result;
}

}  // namespace

std::vector<std::int64_t> steps_to_remove(std::span<const CheckpointSummary> checkpoints,
                                          const RetentionPolicy& policy) {
  Newest newest(checkpoints.begin(), checkpoints.end());
  std::ranges::sort(newest, std::greater{}, &CheckpointSummary::step);
  const std::set<std::int64_t> best = best_steps(newest, policy);
  Newest kept;
  for (std::size_t i = 0; i < newest.size(); ++i) {
    const std::int64_t step = newest[i].step;
    const bool is_regular = policy.keep_every > 0 && step % policy.keep_every == 0;
    if (i == 0 || is_among_newest(i, policy.keep_last) || is_regular || best.contains(step)) kept.push_back(newest[i]);
  }
  if (policy.quota_bytes > 0) apply_quota(kept, newest, policy);
  std::vector<std::int64_t> removed;
  for (auto checkpoint = newest.rbegin(); checkpoint != newest.rend(); ++checkpoint) {
    if (std::ranges::find(kept, checkpoint->step, &CheckpointSummary::step) == kept.end()) {
      removed.push_back(checkpoint->step);
    }
  }
  return removed;
}

std::vector<std::int64_t> plan_retention(const fs::path& folder, const RetentionPolicy& policy, std::int64_t verified) {
  if (policy.keep_last <= 0 && policy.quota_bytes == 0) return {};
  const std::vector<CheckpointSummary> known = summaries(folder, policy, verified);
  // Without the one that was read back, the newest of the others may be all there is.
  if (std::ranges::find(known, verified, &CheckpointSummary::step) == known.end()) return {};
  if (policy.keep_best > 0 && std::ranges::none_of(known, [](const auto& each) { return each.metric.has_value(); })) {
    throw UsageError({.what = fmt::format("keep the {} best checkpoints of {}", policy.keep_best, folder.string()),
                      .why = fmt::format("none has the metric \"{}\"", policy.metric),
                      .fix = "give the name of a metric that is logged: lockstep ckpt show CHECKPOINT lists them"});
  }
  return steps_to_remove(known, policy);
}

std::vector<std::int64_t> apply_retention(const fs::path& folder, const RetentionPolicy& policy,
                                          std::int64_t verified) {
  const std::vector<std::int64_t> steps = plan_retention(folder, policy, verified);
  try {
    for (const std::int64_t step : steps) move_to_trash(folder, checkpoint_path(folder, step));
    empty_trash(folder);
    return steps;
  } catch (...) {
    rethrow_as_checkpoint_error(fmt::format("remove old checkpoints of {}", folder.string()), "check its permissions");
  }
}

}  // namespace lockstep
