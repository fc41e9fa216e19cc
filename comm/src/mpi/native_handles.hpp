// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <atomic>
#include <memory>
#include <vector>

#include "notices.hpp"

namespace lockstep::comm::mpi {

// What MPI owns on behalf of a backend and those made from it. Released by close() or, in a program that runs MPI
// itself, by the delete callback of an attribute of MPI_COMM_SELF, which MPI_Finalize calls first.
class NativeHandles {
 public:
  // Collective over the host. Makes the counter behind claim().
  explicit NativeHandles(MPI_Comm host_comm);
  static void free_with_mpi(const std::shared_ptr<NativeHandles>& handles);

  // Local. Takes `comm` over.
  [[nodiscard]] std::shared_ptr<Notices> add(MPI_Comm comm);
  // Collective over the communicators concerned.
  void free(MPI_Comm comm);
  void free_all();
  // Local. True for the first rank of this host that calls it.
  [[nodiscard]] bool claim() noexcept { return claims_ == nullptr || claims_->fetch_add(1) == 0; }

 private:
  struct Owned {
    MPI_Comm comm;
    std::shared_ptr<Notices> notices;
    void free();
  };
  std::vector<Owned> comms_;
  MPI_Win claim_window_ = MPI_WIN_NULL;
  std::atomic<int>* claims_ = nullptr;  // in the host's shared window: it needs no progress of the peers
};

}  // namespace lockstep::comm::mpi
