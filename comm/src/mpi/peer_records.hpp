// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits.h>
#include <mpi.h>

#include <cstdint>
#include <vector>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::mpi {

// Where a rank runs, as ranks tell each other.
struct PeerRecord {
  char host[HOST_NAME_MAX + 1] = {};
  std::int64_t pid = 0;
  std::int64_t pid_namespace = 0;
  std::int32_t node = 0;
  std::int32_t local_rank = 0;
};

// Collective over `comm`; `node_comm` are those of its ranks that share our node.
[[nodiscard]] std::vector<PeerRecord> exchange_records(MPI_Comm comm, MPI_Comm node_comm);

[[nodiscard]] std::vector<Peer> peers_of(const std::vector<PeerRecord>& records);

// The ranks, other than `rank`, whose process ids mean the same here as there.
[[nodiscard]] std::vector<int> watchable(const std::vector<PeerRecord>& records, int rank);

}  // namespace lockstep::comm::mpi
