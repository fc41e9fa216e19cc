// SPDX-License-Identifier: Apache-2.0
#include "lockstep/comm/mpi_session.hpp"

#include <unistd.h>

#include <charconv>

#include "../deadline_guard.hpp"
#include "../nodes/nodes_backend.hpp"
#include "../session.hpp"
#include "../shm/shm_world.hpp"
#include "lockstep/base/environment.hpp"
#include "lockstep/comm/mpi.hpp"
#include "mpi_backend.hpp"
#include "mpi_check.hpp"

namespace lockstep {

namespace {

// For tests of what spans nodes, on one host.
int virtual_nodes_of_a_host() {
  const std::string text = environment_variable("LOCKSTEP_VIRTUAL_NODES").value_or("1");
  int nodes = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), nodes);
  if (error == std::errc{} && *end == '\0' && nodes >= 1) return nodes;
  throw UsageError({.what = "LOCKSTEP_VIRTUAL_NODES=" + text, .why = "it must be a number from 1 on", .fix = {}});
}

}  // namespace

MpiSession::MpiSession(std::chrono::milliseconds timeout) : timeout_(timeout) {
  const comm::DeadlineGuard guard("MPI_Init", timeout);
  int provided = 0;
  comm::mpi::check_setup(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
}

Communicator MpiSession::world(std::string_view backend) {
  const comm::DeadlineGuard guard("forming the world communicator", timeout_);
  const bool any_levels = backend == "auto" || backend == "nodes";
  const int virtual_nodes = any_levels ? virtual_nodes_of_a_host() : 1;
  if (backend == "shm" || (backend == "auto" && virtual_nodes == 1)) {
    std::string why_not;
    if (auto shm = comm::mpi::make_shm_backend(MPI_COMM_WORLD, timeout_, why_not))
      return {std::move(shm), "world", timeout_};
    if (backend == "shm") throw comm::shm::shm_refused(why_not);
  }
  auto flat = comm::mpi::make_mpi_backend(MPI_COMM_WORLD, comm::mpi::RankOrder::by_node, virtual_nodes);
  if (backend == "nodes" || (backend == "auto" && comm::gains_from_nodes(flat->peers()))) {
    std::string why_not;
    if (auto nodes = comm::mpi::compose_nodes(flat, timeout_, why_not)) return {std::move(nodes), "world", timeout_};
    if (backend == "nodes") {
      throw UsageError({.what = "comm.backend=nodes", .why = why_not, .fix = "leave comm.backend out, or use mpi"});
    }
  }
  return {std::move(flat), "world", timeout_};
}

void MpiSession::finalize() {
  const comm::DeadlineGuard guard("MPI_Finalize", timeout_);
  comm::mpi::check_setup(MPI_Finalize(), "MPI_Finalize");
}

void MpiSession::abort(int code) noexcept {
  MPI_Abort(MPI_COMM_WORLD, code);
  _exit(code);
}

bool built_with_mpi() noexcept { return true; }

std::unique_ptr<Session> open_mpi_session(std::chrono::milliseconds timeout) {
  return std::make_unique<MpiSession>(timeout);
}

Communicator adopt(MPI_Comm comm, std::chrono::milliseconds timeout) {
  return {comm::mpi::make_mpi_backend(comm, comm::mpi::RankOrder::as_given), "world", timeout};
}

}  // namespace lockstep
