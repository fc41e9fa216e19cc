// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "format/manifest.hpp"
#include "format/part_layout.hpp"
#include "lockstep/checkpoint/retention.hpp"
#include "lockstep/checkpoint/saver.hpp"

namespace lockstep {

// What CheckpointSaver commits with. A failed commit is in the outcome; nothing is left of it.
[[nodiscard]] SaveOutcome commit_on_root(const std::filesystem::path& unfinished, Manifest manifest, KeptIndex& index);

// Applies the retention policy after `step` was committed. A failure is a warning.
[[nodiscard]] SaveOutcome retain(const std::filesystem::path& folder, const RetentionPolicy& policy, std::int64_t step);

// Runs a commit, or what comes after one, on a thread of its own ("lockstep-ckpt"). It owns all that it needs: a thread
// that does not come back from the disk can be let go.
class BackgroundCommit {
 public:
  BackgroundCommit() = default;
  BackgroundCommit(const BackgroundCommit&) = delete;
  BackgroundCommit& operator=(const BackgroundCommit&) = delete;
  ~BackgroundCommit();  // waits for the commit at work, up to a limit

  void start(std::packaged_task<SaveOutcome(KeptIndex&)> commit);  // none may be at work
  [[nodiscard]] bool at_work() const;                              // started and not done
  [[nodiscard]] SaveOutcome take();                                // waits
  // True once none is at work; the outcome of one that was given up is dropped.
  [[nodiscard]] bool idle();

 private:
  std::shared_ptr<KeptIndex> index_ = std::make_shared<KeptIndex>();
  std::future<SaveOutcome> outcome_;
  std::thread thread_;
};

}  // namespace lockstep
