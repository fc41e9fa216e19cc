// SPDX-License-Identifier: Apache-2.0
#include "notices.hpp"

#include <algorithm>
#include <cstring>

#include "mpi_check.hpp"
#include "transfers.hpp"

namespace lockstep::comm::mpi {

Notices::Notices(MPI_Comm comm) : comm_(comm) {
  check_setup(MPI_Irecv(incoming_.get(), sizeof(Notice), MPI_BYTE, MPI_ANY_SOURCE, kNoticeTag, comm_, &receive_),
              "MPI_Irecv");
}

std::optional<Failure> Notices::heard() {
  if (receive_ == MPI_REQUEST_NULL) return std::nullopt;
  int arrived = 0;
  MPI_Status status;
  check(MPI_Test(&receive_, &arrived, &status), "MPI_Test");
  if (arrived == 0) return std::nullopt;
  quiet_ = true;  // its sender has told everybody
  return seen_from_afar({.kind = incoming_->kind,
                         .why = incoming_->why.data(),
                         .fix = incoming_->fix.data(),
                         .culprit = incoming_->culprit},
                        status.MPI_SOURCE);
}

void Notices::tell(const Failure& failure) noexcept {
  if (quiet_) return;
  quiet_ = true;
  outgoing_->kind = failure.kind;
  outgoing_->culprit = failure.culprit;
  std::strncpy(outgoing_->why.data(), failure.why.c_str(), outgoing_->why.size() - 1);
  std::strncpy(outgoing_->fix.data(), failure.fix.c_str(), outgoing_->fix.size() - 1);
  int rank = 0;
  int world_size = 0;
  MPI_Comm_rank(comm_, &rank);
  MPI_Comm_size(comm_, &world_size);
  for (int peer = 0; peer < world_size; ++peer) {
    const bool is_dead = failure.kind == FailureKind::peer_died && peer == failure.culprit;
    if (peer == rank || is_dead) continue;
    MPI_Request request = MPI_REQUEST_NULL;  // errors are not looked at: this rank has one already
    MPI_Isend(outgoing_.get(), sizeof(Notice), MPI_BYTE, peer, kNoticeTag, comm_, &request);
    sends_.push_back(request);
  }
  int all_gone = 0;  // asked for the progress that asking makes
  MPI_Testall(static_cast<int>(sends_.size()), sends_.data(), &all_gone, MPI_STATUSES_IGNORE);
}

void Notices::close() {
  quiet_ = true;
  if (receive_ != MPI_REQUEST_NULL) {
    MPI_Cancel(&receive_);
    MPI_Wait(&receive_, MPI_STATUS_IGNORE);
  }
  for (MPI_Request& send : sends_) {
    if (send == MPI_REQUEST_NULL) continue;
    MPI_Request_free(&send);
    (void)outgoing_.release();  // MPI may read it until the process ends
  }
  sends_.clear();
}

}  // namespace lockstep::comm::mpi
