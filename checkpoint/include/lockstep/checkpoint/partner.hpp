// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "lockstep/checkpoint/saver.hpp"

namespace lockstep {

class Communicator;
struct CheckpointContents;  // contents.hpp

// Checkpoints without shared storage: each node keeps the files of its ranks and a copy of those of the ranks of the
// node before it, so that the loss of a node (of every second one, at most) costs nothing. docs/checkpoint_partners.md.
struct PartnerOptions {
  // Of each node its own: in /dev/shm or on a local disk. Node n uses folder/node-<n>, which this user must own.
  std::filesystem::path folder;
  int keep_last = 2;  // at least 2: a crash may come when only some nodes have committed the newest
  std::chrono::milliseconds timeout = std::chrono::seconds(120);  // a disk that has not moved for so long has failed
  // The node of each rank, the same list on all ranks; for tests and unusual placements. Empty: as
  // Communicator::peers().
  std::vector<int> nodes = {};
};

// Saves like CheckpointSaver, to the memory or disks of the nodes. Beside the own part, a rank's memory holds those of
// the ranks whose partner it is: as much again. They are sent during poll() and finish(), and while any other call of
// `world` or its duplicates waits.
class PartnerSaver {
 public:
  // Collective. Removes what killed savers left. `world` is borrowed and must be no one else's while a call of this
  // object runs. Throws UsageError: fewer than two nodes, keep_last; AgreedError on all ranks if a node's folder cannot
  // be used.
  PartnerSaver(Communicator& world, PartnerOptions options);
  PartnerSaver(const PartnerSaver&) = delete;
  PartnerSaver& operator=(const PartnerSaver&) = delete;
  // Local. Waits for this rank's messages and gives up its files at work; a commit that has begun goes on, and is
  // waited for up to 10 s.
  ~PartnerSaver();

  // As those of CheckpointSaver. SaveOutcome::path is that of this rank's node: it holds the whole MANIFEST, but of the
  // writers' files only this node's; restore_from_partners() makes a checkpoint of it. A save that failed on one node
  // has failed on all. `removed` is what the first node let go.
  void save(const CheckpointContents& contents, bool overlap = false);
  void wait_until_staged();
  std::optional<SaveOutcome> poll();
  std::optional<SaveOutcome> finish();
  [[nodiscard]] bool in_flight() const noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// Collective. The newest step of which the nodes together hold every file, verified. Afterwards each node's folder has
// all of it: `newest_good` is a whole checkpoint on this rank's node, which Checkpoint::open reads; empty: there is
// none. Missing and damaged files come from other nodes. World size, nodes and their numbers may be others than those
// of the save, and nodes may be new; one node will do. `damaged`: newer steps of which files are lost, and which.
// Folders of numbers that no node has now are removed once there is a result. No saver may be at work.
// Throws UsageError; AgreedError on all ranks where one of them cannot look or cannot write.
[[nodiscard]] AgreedSearch restore_from_partners(Communicator& world, const PartnerOptions& options);

}  // namespace lockstep
