// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <chrono>
#include <memory>
#include <string>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::mpi {

enum class RankOrder { by_node, as_given };

// Collective. The backend over a duplicate of `comm`. by_node: ranks are renumbered by (node, local rank), so that a
// node's ranks form subtrees. The duplicate is freed by close(), or when MPI is finalized. `virtual_nodes`: into how
// many nodes each host's ranks are divided, for tests.
[[nodiscard]] std::unique_ptr<Backend> make_mpi_backend(MPI_Comm comm, RankOrder order, int virtual_nodes = 1);

// Collective. The shm backend for the ranks of `comm`, if they are all on one host and can hand memory to each other;
// null on all ranks if not, with the reason in `why_not`.
[[nodiscard]] std::unique_ptr<Backend> make_shm_backend(MPI_Comm comm, std::chrono::milliseconds timeout,
                                                        std::string& why_not);

// Collective. shm inside the nodes and `flat`, which has the ranks of MPI_COMM_WORLD, between them; null on all ranks
// if on some node memory cannot be handed over, with the reason in `why_not`; `flat` is as it was.
[[nodiscard]] std::unique_ptr<Backend> compose_nodes(std::unique_ptr<Backend>& flat, std::chrono::milliseconds timeout,
                                                     std::string& why_not);

}  // namespace lockstep::comm::mpi
