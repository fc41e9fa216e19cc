// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <vector>

#include "../peer_records.hpp"

namespace lockstep::comm::mpi {

// Collective over `comm`; `node_comm` are those of its ranks that share our node.
[[nodiscard]] std::vector<PeerRecord> exchange_records(MPI_Comm comm, MPI_Comm node_comm);

}  // namespace lockstep::comm::mpi
