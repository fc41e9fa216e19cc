// SPDX-License-Identifier: Apache-2.0
#pragma once

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

 private:
  std::vector<int> ranks_;
  std::vector<FileDescriptor> descriptors_;
  std::optional<int> gone_;  // a rank that had ended before we looked at it
};

}  // namespace lockstep::comm
