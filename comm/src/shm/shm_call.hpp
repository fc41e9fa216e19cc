// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "shm_backend.hpp"

namespace lockstep::comm::shm {

// One call of all ranks. Its line is published when it starts; the rest happens when it is the oldest of its
// communicator and the lines of all peers are there and agree: small payloads lie in the lines, and all is done at
// once; else data moves, and where peers reach into this rank's memory it waits until they have left.
class ShmCall : public Operation {
 public:
  explicit ShmCall(ShmBackend& backend) : backend_(backend) {}
  void begin(const Request& request, std::uint64_t index);
  Advanced advance(std::chrono::steady_clock::time_point slice_end) final;
  [[nodiscard]] std::vector<int> missing() const final;

 protected:
  // The steps of a kind of call, in this order.
  virtual void prepare() = 0;                   // reads request_; its spans are valid in here alone
  virtual void fill_line(Line& line) = 0;       // the payload, or where this rank's memory lies
  [[nodiscard]] virtual bool start_data() = 0;  // all lines agree; true: all is done
  [[nodiscard]] virtual Advanced move_until(std::chrono::steady_clock::time_point slice_end) = 0;

  [[nodiscard]] int rank() const noexcept { return backend_.rank(); }
  [[nodiscard]] int world_size() const noexcept { return backend_.world_size(); }
  [[nodiscard]] const Line& line_of(int peer) const { return backend_.of(peer).lines[index_ % kLines]; }
  [[nodiscard]] Places places_of(int peer) const;
  [[nodiscard]] std::byte* memory_of(int peer, std::uint64_t offset) const {
    return backend_.group_->memory_of(peer, offset);
  }
  // Whether all ranks' `counter` is at least `value`; for peers.
  [[nodiscard]] bool peers_reached(Counter Channel::*counter, std::uint64_t value) const;
  void publish(Counter Channel::*counter, std::uint64_t value);
  [[nodiscard]] std::size_t bytes_of(std::int64_t elements) const noexcept {
    return static_cast<std::size_t>(elements) * element_bytes_;
  }

  ShmBackend& backend_;
  Request request_;
  std::uint64_t index_ = 0;
  std::size_t element_bytes_ = 1;
  bool peers_reach_in_ = false;  // set by start_data(): wait until they have left

 private:
  enum class Phase { waiting_for_line, lines, data, leaving, done };
  [[nodiscard]] bool try_publish();
  [[nodiscard]] bool lines_are_there();
  [[nodiscard]] bool peers_have_left();
  void complete();

  std::uint32_t fingerprint_ = 0;
  Phase phase_ = Phase::done;
  int lines_seen_ = 0;  // of ranks 0 … lines_seen_−1
};

}  // namespace lockstep::comm::shm
