// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string_view>

#include "lockstep/comm/communicator.hpp"

namespace lockstep {

// Whether an MPI launcher (mpirun, srun with PMIx) started this process as one of several ranks.
[[nodiscard]] bool started_as_mpi_rank();

// Whether this lockstep can use MPI (CMake option LOCKSTEP_MPI).
[[nodiscard]] bool built_with_mpi() noexcept;

// What makes this process, in a program that does not run MPI itself, a rank. One a process.
class Session {
 public:
  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  virtual ~Session() = default;  // local; finalize() is what ends it

  // Collective. The ranks of the job, ordered by node, then local rank; once for each `backend`. By MPI: "auto" (shm
  // where all ranks share a host; nodes where they are on several, and several of them on one; else mpi), "shm",
  // "nodes" (shm inside the nodes, mpi between them) or "mpi"; throws UsageError where ranks of a node cannot share
  // memory as shm and nodes need it. Without: always over shm.
  [[nodiscard]] virtual Communicator world(std::string_view backend = "auto") = 0;

  // Collective. Everything durable must have happened before: launchers end the others at the first exit that is not 0
  // after it.
  virtual void finalize() = 0;

  // Takes the whole job down with `code`.
  [[noreturn]] virtual void abort(int code) noexcept = 0;
};

// Collective. By MPI where its launcher started this process, else by the environment (rendezvous.hpp). A rank that
// does not come within `timeout` is an error, or ends this process with a message.
[[nodiscard]] std::unique_ptr<Session> open_session(std::chrono::milliseconds timeout);

}  // namespace lockstep
