// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string_view>

#include "lockstep/comm/communicator.hpp"

namespace lockstep {

// Whether a launcher (mpirun, srun with PMIx) started this process as one of several ranks.
[[nodiscard]] bool started_as_mpi_rank();

// Owner of MPI in a program that does not run it itself. One a process.
class MpiSession {
 public:
  // Collective. MPI_Init_thread (FUNNELED). A rank that does not come within `timeout` ends this process with a
  // message.
  explicit MpiSession(std::chrono::milliseconds timeout);
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  ~MpiSession();  // local; finalize() is what ends MPI

  // Collective. The ranks of the job, ordered by node, then local rank. `backend`: "auto" (shm where all ranks share a
  // host, else mpi), "shm" (UsageError if they do not) or "mpi".
  [[nodiscard]] Communicator world(std::string_view backend = "auto");

  // Collective. Everything durable must have happened before: mpirun kills peers at the first non-zero exit after it.
  void finalize();

  // Takes the whole job down with `code`.
  [[noreturn]] void abort(int code) noexcept;

 private:
  std::chrono::milliseconds timeout_;
};

}  // namespace lockstep
