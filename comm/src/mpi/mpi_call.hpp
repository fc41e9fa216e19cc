// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "header.hpp"
#include "transfers.hpp"

namespace lockstep::comm::mpi {

// A call of all ranks. Phase 1: every rank sends a header to every other and compares those it gets, before any data is
// touched. Phase 2: each rank gets what the others have for it, from their headers or, if it is more than fits there,
// in messages of its own. What is left is up to the kind of call. Messages have the call's sequence number in their
// tags, so that several calls may be in flight. By itself it moves nothing: for Request::agree_only.
class MpiCall : public Operation {
 public:
  MpiCall(Endpoint& endpoint, const Request& request);
  void post_headers();  // once outgoing_ and incoming_ are known
  Advanced advance(std::chrono::steady_clock::time_point slice_end) final;
  [[nodiscard]] std::vector<int> missing() const final { return transfers_.peers(); }

 protected:
  // Phase 3: all of incoming_ is here, and all of outgoing_ may be written to.
  [[nodiscard]] virtual Advanced finish_until(std::chrono::steady_clock::time_point slice_end);

  [[nodiscard]] int rank() const noexcept { return endpoint_.rank; }
  [[nodiscard]] int world_size() const noexcept { return endpoint_.world_size; }
  [[nodiscard]] std::size_t bytes_of(std::int64_t elements) const noexcept {
    return static_cast<std::size_t>(elements) * element_bytes_;
  }
  [[nodiscard]] int data_tag() const noexcept { return call_tag(request_.call.sequence) + 1; }

  Endpoint& endpoint_;
  Request request_;
  Transfers transfers_;
  // By rank: what it gets from us, and where what it has for us goes. Pieces of the same sizes on both sides.
  std::vector<std::vector<std::span<const std::byte>>> outgoing_;
  std::vector<std::vector<std::span<std::byte>>> incoming_;

 private:
  enum class Phase { headers, data, finishing };
  void compare_headers() const;
  void start_data();
  void take_from_header(int peer);
  void copy_own();

  std::size_t element_bytes_;
  Phase phase_ = Phase::headers;
  std::vector<Header> own_headers_;  // by receiver
  std::vector<Header> peer_headers_;
};

// A call without a reduction.
class MpiMove final : public MpiCall {
 public:
  MpiMove(Endpoint& endpoint, const Request& request);
};

}  // namespace lockstep::comm::mpi
