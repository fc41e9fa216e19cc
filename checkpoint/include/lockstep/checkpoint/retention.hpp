// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace lockstep {

// Which checkpoints stay. A checkpoint stays if any rule keeps it; the newest good one always does.
struct RetentionPolicy {
  int keep_last = 0;            // the newest k; 0: all, and the other rules do not matter
  std::int64_t keep_every = 0;  // those whose step is a multiple; 0: none
  int keep_best = 0;            // the k best by `metric`; ties go to the newer; those without the metric are not best;
                                // where none has it, nothing is removed
  std::string metric = "eval.accuracy";
  bool larger_is_better = true;
  // Of all checkpoints of a folder; 0: no quota. Those that only keep_every and keep_best keep go first, oldest first,
  // then the oldest of the others; never the newest.
  std::uint64_t quota_bytes = 0;
};

// What is known of a checkpoint without reading its tensors.
struct CheckpointSummary {
  std::int64_t step = 0;
  std::uint64_t bytes = 0;
  std::optional<double> metric{};  // that of the policy; NaN counts as none
};

// Pure. Steps to remove, oldest first. `checkpoints` in any order.
[[nodiscard]] std::vector<std::int64_t> steps_to_remove(std::span<const CheckpointSummary> checkpoints,
                                                        const RetentionPolicy& policy);

// Local. What apply_retention() would remove. Changes nothing. Throws CheckpointError.
[[nodiscard]] std::vector<std::int64_t> plan_retention(const std::filesystem::path& folder,
                                                       const RetentionPolicy& policy, std::int64_t verified);

// Local. Applies the policy to the complete checkpoints of `folder`: renames each that goes into folder/.trash, then
// deletes it there. `verified`: the newest, whose bytes were read back; nothing at or above its step is removed. Those
// that do not open are left alone. Returns the removed steps. Throws CheckpointError; what was not removed stays whole.
std::vector<std::int64_t> apply_retention(const std::filesystem::path& folder, const RetentionPolicy& policy,
                                          std::int64_t verified);

}  // namespace lockstep
