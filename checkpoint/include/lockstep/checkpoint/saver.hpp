// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/checkpoint/retention.hpp"

namespace lockstep {

class Communicator;
struct CheckpointContents;  // contents.hpp

struct SaverOptions {
  std::filesystem::path folder;  // shared by all ranks
  RetentionPolicy retention = {};
  std::chrono::milliseconds timeout = std::chrono::seconds(120);  // a disk that has not moved for so long has failed
};

// How a save ended, the same on every rank.
struct SaveOutcome {
  std::int64_t step = 0;
  std::filesystem::path path{};         // of the checkpoint, if it is durable
  std::string failure{};                // else why not, naming the rank; older checkpoints are untouched
  std::vector<std::string> warnings{};  // retention or LATEST failed, say; the checkpoint stands
  std::vector<std::int64_t> removed{};  // by retention
};

// Saves the state of a job in the background, every byte once, spread evenly over the ranks that hold it. Two phases,
// moved on by poll(): every rank writes its file; then rank 0 writes index.h5 and MANIFEST and renames the folder. The
// staging memory (this rank's part of the state) and the files' layout are kept for the next save. Threads of its own
// ("lockstep-ckpt") write; communication happens only inside of these calls, on the caller's thread.
class CheckpointSaver {
 public:
  // Collective. `world` is borrowed and must be no one else's while a call of this object runs.
  CheckpointSaver(Communicator& world, SaverOptions options);
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;
  // Local. Gives up this rank's file at work; a commit that has begun goes on, and is waited for up to 10 s.
  ~CheckpointSaver();

  // Collective. Begins to save; no save may be in flight. Returns when the slices' memory may change again: after one
  // copy of what this rank writes and one look at what it only compares. With `overlap` it copies slices that change in
  // forward and returns; the rest is copied in the background, and wait_until_staged() tells when it may change.
  // Throws AgreedError on all ranks, before anything is written, if the slices do not cover each tensor or contradict
  // each other (naming tensor and ranks), or contents cannot be stored; UsageError if a save is in flight.
  void save(const CheckpointContents& contents, bool overlap = false);

  // Local. Returns when the slices of the last save() may change.
  void wait_until_staged();

  // Collective. Moves the save in flight on, without waiting for its writes; its outcome once it has ended. Nothing, at
  // no cost, if none is in flight. Throws AgreedError on all ranks if ranks that hold the same run of a tensor have
  // different bits, naming the tensor and the ranks: nothing was committed, and the job should not go on.
  std::optional<SaveOutcome> poll();

  // Collective. The same, and waits for the outcome; nothing if no save is in flight. A rank whose disk does not move
  // for SaverOptions::timeout is named in the outcome.
  std::optional<SaveOutcome> finish();

  [[nodiscard]] bool in_flight() const noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

struct AgreedSearch {
  std::filesystem::path newest_good;       // empty: there is none
  std::vector<DamagedCheckpoint> damaged;  // newer than newest_good (all, if there is none), newest first
};

// Collective. find_checkpoint of reader.hpp for a job: the same on every rank, each of which verifies a share of the
// files. Throws AgreedError on all ranks where one of them cannot look.
[[nodiscard]] AgreedSearch find_checkpoint(Communicator& world, const std::filesystem::path& folder);

}  // namespace lockstep
