// SPDX-License-Identifier: Apache-2.0
#include "exchange_records.hpp"

#include "../number_nodes.hpp"
#include "mpi_check.hpp"

namespace lockstep::comm::mpi {

std::vector<PeerRecord> exchange_records(MPI_Comm comm, MPI_Comm node_comm) {
  int rank = 0;
  int size = 0;
  PeerRecord own = own_record();
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  own.node = rank;  // of the node's first rank, for now
  check_setup(MPI_Bcast(&own.node, 1, MPI_INT32_T, 0, node_comm), "MPI_Bcast");
  std::vector<PeerRecord> records(static_cast<std::size_t>(size));
  check_setup(MPI_Allgather(&own, sizeof own, MPI_BYTE, records.data(), sizeof own, MPI_BYTE, comm), "MPI_Allgather");
  number_nodes(records);
  return records;
}

}  // namespace lockstep::comm::mpi
