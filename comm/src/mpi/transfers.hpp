// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "../tree_plan.hpp"

namespace lockstep::comm::mpi {

// Tags, of which MPI guarantees 0 … 32767: two for each call of all ranks, four (three used) for each message between
// two, so that many may be in flight; the last one for notices.
inline constexpr int kFirstMessageTag = 16384;
inline constexpr int kNoticeTag = 32767;
[[nodiscard]] constexpr int call_tag(std::uint64_t sequence) noexcept { return static_cast<int>(sequence % 8192) * 2; }
[[nodiscard]] constexpr int message_tag(std::uint64_t sequence) noexcept {
  return kFirstMessageTag + static_cast<int>(sequence % 4096) * 4;
}

// Memory that operations use for what peers send, kept for the next one: fresh pages cost more than the sum.
class StagingPool {
 public:
  [[nodiscard]] std::vector<std::byte> take(std::size_t bytes);
  void give_back(std::vector<std::byte> memory);

 private:
  std::vector<std::vector<std::byte>> free_;
};

// What the operations of one backend share.
struct Endpoint {
  MPI_Comm comm;
  int rank;
  int world_size;
  TreePlanner planner;
  StagingPool pool{};
};

// The messages of one operation that are on their way. Their memory must outlive them.
class Transfers {
 public:
  explicit Transfers(MPI_Comm comm) : comm_(comm) {}
  void send(std::span<const std::byte> data, int peer, int tag);
  void receive(std::span<std::byte> data, int peer, int tag);
  // Whether all have arrived.
  [[nodiscard]] bool done();
  [[nodiscard]] std::vector<int> peers() const;  // of those that have not

 private:
  MPI_Comm comm_;
  std::vector<MPI_Request> requests_;
  std::vector<int> peers_;  // of requests_[i]
};

}  // namespace lockstep::comm::mpi
