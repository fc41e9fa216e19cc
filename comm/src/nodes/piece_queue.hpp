// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm {

// What a piece of a call goes through.
enum class Stage : std::uint8_t {
  up,      // inside the node: every rank gets the node's value of its slice
  across,  // between nodes, among the ranks with the same slice
  down,    // inside the node: every rank gets what it wants
  done,
};

// The pieces of all calls of one communicator, numbered in the order of the calls. Each stage has a communicator of its
// own and takes the pieces in this order on every rank, so that the same calls meet there, whoever is ahead elsewhere.
class PieceQueue {
 public:
  static constexpr std::uint64_t kInFlight = 4;  // one in each stage, and one that is about to enter

  PieceQueue() {
    for (std::uint64_t piece = 0; piece < kInFlight; ++piece) slots_[piece].next = piece;
  }
  // The number of the first of `pieces`, each of which may use `scratch_bytes`, taken from `memory`.
  [[nodiscard]] std::uint64_t enlist(std::size_t pieces, std::size_t scratch_bytes, Backend& memory);
  [[nodiscard]] bool may_enter(Stage stage, std::uint64_t piece) const;
  void entered(Stage stage) { ++next_in_[static_cast<std::size_t>(stage)]; }
  void done(std::uint64_t piece) { slot_of(piece).next = piece + kInFlight; }
  // Belongs to the piece from its entering `up` until it is done.
  [[nodiscard]] std::shared_ptr<std::byte> scratch(std::uint64_t piece) { return slot_of(piece).memory; }

 private:
  struct Slot {
    std::uint64_t next = 0;  // the piece that uses it next, or now
    std::shared_ptr<std::byte> memory;
    std::size_t bytes = 0;
  };
  [[nodiscard]] Slot& slot_of(std::uint64_t piece) { return slots_[piece % kInFlight]; }

  std::uint64_t pieces_ = 0;
  std::array<std::uint64_t, 3> next_in_{};  // by stage: the piece that enters it next
  std::array<Slot, kInFlight> slots_{};
};

}  // namespace lockstep::comm
