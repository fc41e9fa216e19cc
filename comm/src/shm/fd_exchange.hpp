// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "lockstep/base/file.hpp"

namespace lockstep::comm::shm {

// Gives every rank of this host a descriptor of every other rank's memory file, over a Unix socket in the abstract
// namespace (no name in a file system). `name` must be the same on all ranks and known to them alone. Rank 0 listens;
// the others send it theirs and get all. Processes of another user are refused. Collective. Throws CommError: a rank
// that does not come within `timeout`, a socket that fails (another network namespace).
class FdExchange {
 public:
  FdExchange(std::string name, int rank, int world_size, std::chrono::milliseconds timeout);

  // Rank 0: listens from here on, so that the others may connect. Call before the others learn that they may.
  void listen();
  // Returns the files by rank; [rank] is a duplicate of `own`.
  [[nodiscard]] std::vector<FileDescriptor> exchange(const FileDescriptor& own);

 private:
  [[nodiscard]] std::vector<FileDescriptor> serve(const FileDescriptor& own);
  [[nodiscard]] std::vector<FileDescriptor> ask(const FileDescriptor& own);

  std::string name_;
  int rank_;
  int world_size_;
  std::chrono::steady_clock::time_point deadline_;
  FileDescriptor listener_;
};

}  // namespace lockstep::comm::shm
