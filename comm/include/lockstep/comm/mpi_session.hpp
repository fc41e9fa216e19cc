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
  // host; nodes where they are on several, and several of them on one; else mpi), "shm", "nodes" (shm inside the nodes,
  // mpi between them) or "mpi". Throws UsageError where ranks of a node cannot share memory as shm and nodes need it.
  [[nodiscard]] Communicator world(std::string_view backend = "auto");

  // Collective. Everything durable must have happened before: mpirun kills peers at the first non-zero exit after it.
  void finalize();

  // Takes the whole job down with `code`.
  [[noreturn]] void abort(int code) noexcept;

 private:
  std::chrono::milliseconds timeout_;
};

}  // namespace lockstep
