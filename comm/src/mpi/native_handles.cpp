// SPDX-License-Identifier: Apache-2.0
#include "native_handles.hpp"

#include <algorithm>
#include <new>

#include "mpi_check.hpp"

namespace lockstep::comm::mpi {
namespace {

int free_at_finalize(MPI_Comm, int, void* attribute, void*) {
  auto* const handles = static_cast<std::shared_ptr<NativeHandles>*>(attribute);
  (*handles)->free_all();
  delete handles;
  return MPI_SUCCESS;
}

}  // namespace

NativeHandles::NativeHandles(MPI_Comm host_comm) {
  int local_rank = 0;
  MPI_Comm_rank(host_comm, &local_rank);
  void* base = nullptr;
  const MPI_Aint bytes = local_rank == 0 ? sizeof(std::atomic<int>) : 0;
  check_setup(MPI_Win_allocate_shared(bytes, 1, MPI_INFO_NULL, host_comm, &base, &claim_window_),
              "MPI_Win_allocate_shared");
  MPI_Aint size = 0;
  int unit = 0;
  check_setup(MPI_Win_shared_query(claim_window_, 0, &size, &unit, &base), "MPI_Win_shared_query");
  if (local_rank == 0) new (base) std::atomic<int>(0);
  check_setup(MPI_Barrier(host_comm), "MPI_Barrier");
  claims_ = static_cast<std::atomic<int>*>(base);
}

void NativeHandles::free_with_mpi(const std::shared_ptr<NativeHandles>& handles) {
  int key = MPI_KEYVAL_INVALID;
  check_setup(MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, free_at_finalize, &key, nullptr), "MPI_Comm_create_keyval");
  check_setup(MPI_Comm_set_attr(MPI_COMM_SELF, key, new std::shared_ptr<NativeHandles>(handles)), "MPI_Comm_set_attr");
  check_setup(MPI_Comm_free_keyval(&key), "MPI_Comm_free_keyval");
}

std::shared_ptr<Notices> NativeHandles::add(MPI_Comm comm) {
  MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
  return comms_.emplace_back(Owned{comm, std::make_shared<Notices>(comm)}).notices;
}

void NativeHandles::Owned::free() {
  notices->close();
  MPI_Comm_free(&comm);
}

void NativeHandles::free(MPI_Comm comm) {
  const auto owned = std::find_if(comms_.begin(), comms_.end(), [&](const Owned& each) { return each.comm == comm; });
  if (owned == comms_.end()) return;  // with all others
  owned->free();
  comms_.erase(owned);
}

void NativeHandles::free_all() {
  if (claim_window_ != MPI_WIN_NULL) MPI_Win_free(&claim_window_);
  claims_ = nullptr;
  for (Owned& owned : comms_) owned.free();
  comms_.clear();
}

}  // namespace lockstep::comm::mpi
