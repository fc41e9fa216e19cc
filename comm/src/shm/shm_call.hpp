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
  // What a rank has published with its line: in it, or in the slot beside it.
  [[nodiscard]] const std::byte* published_by(int peer, std::size_t bytes) const;
  [[nodiscard]] std::byte* room_to_publish(Line& line, std::size_t bytes) const;

  // Chunks of a call go through rings of cells. All counts follow from the call, so that every rank has the same
  // chunks: of `longest` elements, as many at a time as cells have room for `bytes_per_element`.
  void plan_chunks(std::int64_t longest, std::size_t bytes_per_element);
  [[nodiscard]] Range in_chunk(std::int64_t chunk, Range elements) const;  // those of `elements` that it has
  [[nodiscard]] std::byte* cell(int peer, std::int64_t chunk) const;
  // Whether the next chunk may be copied in: no rank needs what lies in its cell, and ours has been copied out of it.
  [[nodiscard]] bool next_cell_is_free() const;

  [[nodiscard]] std::size_t bytes_of(std::int64_t elements) const noexcept {
    return static_cast<std::size_t>(elements) * element_bytes_;
  }

  ShmBackend& backend_;
  Request request_;
  std::uint64_t index_ = 0;
  std::size_t element_bytes_ = 1;
  bool peers_reach_in_ = false;  // set by start_data(): wait until they have left
  std::int64_t chunk_size_ = 1;  // elements
  std::int64_t chunks_ = 0;
  std::int64_t copied_ = 0, consumed_ = 0;  // chunks of this call
  std::uint64_t base_ = 0;                  // chunks of the calls before

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
