// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "lockstep/base/file.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::comm {

// Notices the death of ranks on this host, whatever the launcher does, by their process descriptors (pidfd_open(2)).
class PeerWatch {
 public:
  // `watched`: those of `peers` whose process ids mean the same here (same host and pid namespace).
  PeerWatch(const std::vector<Peer>& peers, const std::vector<int>& watched);
  // The lowest rank that is seen to have ended; at most a system call.
  [[nodiscard]] std::optional<int> dead_rank() const;
  [[nodiscard]] std::vector<int> dead_ranks() const;  // in rising order
  // A watch of those of `members` that this one watches; they are numbered by their place there.
  [[nodiscard]] PeerWatch part(const std::vector<int>& members) const;

 private:
  PeerWatch() = default;
  std::vector<int> ranks_;
  // Shared: a process may have few descriptors left. Null of a rank that had ended before we looked at it.
  std::vector<std::shared_ptr<const FileDescriptor>> descriptors_;
};

}  // namespace lockstep::comm
