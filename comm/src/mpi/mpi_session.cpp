// SPDX-License-Identifier: Apache-2.0
#include "lockstep/comm/mpi_session.hpp"

#include <unistd.h>

#include "../deadline_guard.hpp"
#include "lockstep/comm/mpi.hpp"
#include "mpi_backend.hpp"
#include "mpi_check.hpp"

namespace lockstep {

MpiSession::MpiSession(std::chrono::milliseconds timeout) : timeout_(timeout) {
  const comm::DeadlineGuard guard("MPI_Init", timeout);
  int provided = 0;
  comm::mpi::check_setup(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
}

MpiSession::~MpiSession() = default;

Communicator MpiSession::world() {
  const comm::DeadlineGuard guard("forming the world communicator", timeout_);
  return {comm::mpi::make_mpi_backend(MPI_COMM_WORLD, comm::mpi::RankOrder::by_node), "world", timeout_};
}

void MpiSession::finalize() {
  const comm::DeadlineGuard guard("MPI_Finalize", timeout_);
  comm::mpi::check_setup(MPI_Finalize(), "MPI_Finalize");
}

void MpiSession::abort(int code) noexcept {
  MPI_Abort(MPI_COMM_WORLD, code);
  _exit(code);
}

Communicator adopt(MPI_Comm comm, std::chrono::milliseconds timeout) {
  return {comm::mpi::make_mpi_backend(comm, comm::mpi::RankOrder::as_given), "world", timeout};
}

}  // namespace lockstep
