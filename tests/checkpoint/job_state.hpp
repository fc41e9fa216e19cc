// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/checkpoint/contents.hpp"
#include "lockstep/checkpoint/reader.hpp"

namespace lockstep::testing {

// The state of a job at a step: a function of step, name and element alone, so that whoever reads it back, at whatever
// world size, knows every byte. Replicated tensors of several sizes and dtypes, and one that is cut over the ranks.
class JobState {
 public:
  JobState(std::int64_t step, int world_size, int rank);
  JobState(const JobState&) = delete;
  JobState& operator=(const JobState&) = delete;
  [[nodiscard]] const CheckpointContents& contents() const noexcept { return contents_; }

 private:
  CheckpointContents contents_;
  std::vector<std::vector<std::byte>> memory_;
};

// What is wrong with a checkpoint of such a job, "" if all of it is right.
[[nodiscard]] std::string difference(const Checkpoint& checkpoint);

// The newest checkpoint: it must be of step `at_least` or newer (0: there need be none), all of it right, and nothing
// newer damaged; else `wrong` says what.
struct Found {
  std::int64_t step = 0;  // 0: no checkpoint
  std::string wrong{};
};
[[nodiscard]] Found look(const std::filesystem::path& folder, std::int64_t at_least);

// What a restarted job does first: removes what killed writers left, and looks.
[[nodiscard]] Found restart(const std::filesystem::path& folder, std::int64_t at_least);

// What lies in `folder` besides the complete checkpoints `steps` and the hint LATEST, "" if nothing.
[[nodiscard]] std::string left_over(const std::filesystem::path& folder, const std::vector<std::int64_t>& steps);

}  // namespace lockstep::testing
