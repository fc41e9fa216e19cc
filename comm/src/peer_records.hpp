// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits.h>

#include <cstdint>
#include <vector>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm {

// Where a rank runs, as ranks tell each other.
struct PeerRecord {
  char host[HOST_NAME_MAX + 1] = {};
  std::int64_t pid = 0;
  std::int64_t pid_namespace = 0;
  std::int32_t node = 0;
  std::int32_t local_rank = 0;
};

// Of this process; node and local rank are for the caller to fill in.
[[nodiscard]] PeerRecord own_record();

[[nodiscard]] std::vector<Peer> peers_of(const std::vector<PeerRecord>& records);

// The ranks, other than `rank`, whose process ids mean the same here as there.
[[nodiscard]] std::vector<int> watchable(const std::vector<PeerRecord>& records, int rank);

}  // namespace lockstep::comm
