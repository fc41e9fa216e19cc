// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::mpi {

// Memory that operations use for what peers send, kept for the next one: fresh pages cost more than the sum.
class StagingPool {
 public:
  [[nodiscard]] std::vector<std::byte> take(std::size_t bytes);
  void give_back(std::vector<std::byte> memory);

 private:
  std::vector<std::vector<std::byte>> free_;
};

// The first message of every call, from every rank to every other: its fingerprint, and small payloads whole.
struct Header {
  static constexpr std::size_t kInlineBytes = 448;
  Call call;
  std::array<std::byte, kInlineBytes> payload;
};

// One collective over point-to-point messages. Phase 1: everybody sends its header to everybody and compares those it
// gets, before any data is touched. Phase 2, unless the payload rode in the header: each rank gets what it reduces
// (slice r of all partial sums). Phase 3: it sends its result to all. Messages have the call's sequence number in their
// tag, so that several calls may be in flight.
class MpiOperation final : public Operation {
 public:
  MpiOperation(MPI_Comm comm, int rank, int world_size, StagingPool& pool, const Request& request);
  ~MpiOperation() override;
  Advanced advance(std::chrono::steady_clock::time_point slice_end) override;
  [[nodiscard]] std::vector<int> missing() const override;

 private:
  enum class Phase { headers, inputs, reducing, results, done };

  void post_headers();
  void compare_headers();
  void start_data();
  void start_inputs();
  void start_results();
  void finish_inline();
  [[nodiscard]] bool reduce_until(std::chrono::steady_clock::time_point slice_end);
  [[nodiscard]] bool requests_done();
  void send(const std::byte* data, std::size_t bytes, int peer);
  void receive(std::byte* data, std::size_t bytes, int peer);

  [[nodiscard]] bool is_reduction() const noexcept;
  [[nodiscard]] bool payload_is_inline() const;
  [[nodiscard]] std::size_t part_bytes() const noexcept;         // of call.elements
  [[nodiscard]] Range slice_of(int rank) const noexcept;         // elements that `rank` reduces
  [[nodiscard]] std::vector<Range> partials_of(int rank) const;  // leaves that `rank` contributes
  [[nodiscard]] int tag(bool header) const noexcept;

  MPI_Comm comm_;
  int rank_;
  int world_size_;
  StagingPool& pool_;
  std::vector<Partial> partials_;
  Request request_;
  std::size_t element_bytes_;
  Phase phase_ = Phase::headers;
  Header own_header_{};
  std::vector<Header> peer_headers_;  // by rank; ours unused
  std::vector<MPI_Request> requests_;
  std::vector<int> request_peers_;  // whom requests_[i] waits for
  std::vector<std::byte> staging_;
  std::vector<int> combines_;             // the order of additions over inputs_
  std::vector<const std::byte*> inputs_;  // theirs, at our slice
  std::int64_t reduced_ = 0;              // elements of our slice that are done
};

}  // namespace lockstep::comm::mpi
