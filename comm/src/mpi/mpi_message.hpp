// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "header.hpp"
#include "transfers.hpp"

namespace lockstep::comm::mpi {

// A send or a receive. The sender's header goes first, with all of a small message, and then the sender is done. A
// larger one it keeps until the receiver has answered with its own header and both have compared.
class MpiMessage final : public Operation {
 public:
  MpiMessage(Endpoint& endpoint, const Request& request);
  Advanced advance(std::chrono::steady_clock::time_point slice_end) override;
  [[nodiscard]] std::vector<int> missing() const override { return {peer_}; }

 private:
  enum class Phase { headers, data };
  // By added number of the message's first tag.
  enum Tag { from_sender = 0, from_receiver = 1, data = 2 };

  void answer();
  void compare() const;
  [[nodiscard]] bool start_data();
  [[nodiscard]] int tag(Tag part) const noexcept { return message_tag(request_.call.sequence) + part; }

  Endpoint& endpoint_;
  Request request_;
  int peer_;
  bool sends_;
  std::size_t bytes_;
  Transfers transfers_;
  Header own_header_{};
  Header peer_header_{};
  bool answered_ = false;
  Phase phase_ = Phase::headers;
};

}  // namespace lockstep::comm::mpi
