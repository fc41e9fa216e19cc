// SPDX-License-Identifier: Apache-2.0
#include "../nodes/nodes_backend.hpp"
#include "lockstep/base/error.hpp"
#include "mpi_backend.hpp"
#include "mpi_check.hpp"

namespace lockstep::comm::mpi {
namespace {

// Null if it cannot be made on this rank's node.
std::unique_ptr<Backend> make_inner(const Backend& flat, std::chrono::milliseconds timeout, std::string& why_not) {
  MPI_Comm node_comm = MPI_COMM_NULL;
  const int node = flat.peers()[static_cast<std::size_t>(flat.rank())].node;
  check_setup(MPI_Comm_split(MPI_COMM_WORLD, node, flat.rank(), &node_comm), "MPI_Comm_split");
  std::unique_ptr<Backend> inner = make_shm_backend(node_comm, timeout, why_not);
  MPI_Comm_free(&node_comm);
  return inner;
}

}  // namespace

std::unique_ptr<Backend> compose_nodes(std::unique_ptr<Backend>& flat, std::chrono::milliseconds timeout,
                                       std::string& why_not) {
  std::unique_ptr<Backend> inner = make_inner(*flat, timeout, why_not);
  int on_all = inner ? 1 : 0;
  check_setup(MPI_Allreduce(MPI_IN_PLACE, &on_all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD), "MPI_Allreduce");
  if (on_all == 0) {
    if (why_not.empty()) why_not = "the ranks of another node cannot share their memory";
    return nullptr;
  }
  try {
    return make_nodes_backend(std::move(flat), std::move(inner));
  } catch (const BackendFailure& thrown) {
    throw CommError(
        {.what = "forming the world communicator over nodes", .why = thrown.failure.why, .fix = thrown.failure.fix});
  }
}

}  // namespace lockstep::comm::mpi
