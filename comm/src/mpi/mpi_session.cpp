// SPDX-License-Identifier: Apache-2.0
#include "lockstep/comm/mpi_session.hpp"

#include <unistd.h>

#include "../deadline_guard.hpp"
#include "../session.hpp"
#include "lockstep/comm/mpi.hpp"
#include "mpi_backend.hpp"
#include "mpi_check.hpp"

namespace lockstep {

MpiSession::MpiSession(std::chrono::milliseconds timeout) : timeout_(timeout) {
  const comm::DeadlineGuard guard("MPI_Init", timeout);
  int provided = 0;
  comm::mpi::check_setup(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
}

Communicator MpiSession::world(std::string_view backend) {
  const comm::DeadlineGuard guard("forming the world communicator", timeout_);
  if (backend != "mpi") {
    std::string why_not;
    if (auto shm = comm::mpi::make_shm_backend(MPI_COMM_WORLD, timeout_, why_not))
      return {std::move(shm), "world", timeout_};
    if (backend == "shm") {
      throw UsageError({.what = "comm.backend=shm", .why = why_not, .fix = "leave comm.backend out, or use mpi"});
    }
  }
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

bool built_with_mpi() noexcept { return true; }

std::unique_ptr<Session> open_mpi_session(std::chrono::milliseconds timeout) {
  return std::make_unique<MpiSession>(timeout);
}

Communicator adopt(MPI_Comm comm, std::chrono::milliseconds timeout) {
  return {comm::mpi::make_mpi_backend(comm, comm::mpi::RankOrder::as_given), "world", timeout};
}

}  // namespace lockstep
