// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::mpi {

// How a rank that gives up tells the others: each has a receive posted for the first who does.
class Notices {
 public:
  explicit Notices(MPI_Comm comm);  // local
  Notices(const Notices&) = delete;
  Notices& operator=(const Notices&) = delete;
  // Local. What a peer has failed of; once.
  [[nodiscard]] std::optional<Failure> heard();
  // Local. To all other ranks, unless they have it from where this rank has it.
  void tell(const Failure& failure) noexcept;
  // Local. Before the communicator is freed.
  void close();

 private:
  struct Notice {
    FailureKind kind = FailureKind::native;
    std::int32_t culprit = -1;
    std::array<char, 1000> why{};
    std::array<char, 500> fix{};
  };

  MPI_Comm comm_;
  MPI_Request receive_ = MPI_REQUEST_NULL;  // null: heard or closed
  bool quiet_ = false;                      // nothing is to be told any more
  std::unique_ptr<Notice> incoming_ = std::make_unique<Notice>();
  std::unique_ptr<Notice> outgoing_ = std::make_unique<Notice>();
  std::vector<MPI_Request> sends_;
};

}  // namespace lockstep::comm::mpi
