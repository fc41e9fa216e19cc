// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "local_group.hpp"

namespace lockstep::comm {

// A send or a receive. The receiver copies; a sender of little leaves it behind and is done.
class LocalTransfer final : public Operation {
 public:
  LocalTransfer(std::shared_ptr<LocalGroup> group, int rank, const Request& request);
  Advanced advance(std::chrono::steady_clock::time_point slice_end) override;
  [[nodiscard]] std::vector<int> missing() const override { return {request_.call.root}; }

 private:
  void enter();

  std::shared_ptr<LocalGroup> group_;
  int rank_;
  Request request_;
  std::size_t bytes_;
  std::shared_ptr<LocalMessage> message_;
};

// One message, from its first mention by either rank. Guarded by the lock, but for the data.
struct LocalMessage {
  std::optional<Call> sent, received;
  const std::byte* data = nullptr;  // in the sender's memory, or what it has left behind
  std::vector<std::byte> left_behind;
  bool taken = false;
};

}  // namespace lockstep::comm
