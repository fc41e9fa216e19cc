// SPDX-License-Identifier: Apache-2.0
#include "piece_queue.hpp"

#include <algorithm>

namespace lockstep::comm {

std::uint64_t PieceQueue::enlist(std::size_t pieces, std::size_t scratch_bytes, Backend& memory) {
  const std::uint64_t first = pieces_;
  for (std::uint64_t piece = first; piece < first + std::min<std::uint64_t>(pieces, kInFlight); ++piece) {
    Slot& slot = slot_of(piece);
    if (slot.bytes >= scratch_bytes) continue;
    slot.memory = memory.allocate(scratch_bytes);  // a piece that is using the old one keeps it
    slot.bytes = scratch_bytes;
  }
  pieces_ += pieces;
  return first;
}

bool PieceQueue::may_enter(Stage stage, std::uint64_t piece) const {
  const bool has_slot = stage != Stage::up || slots_[piece % kInFlight].next == piece;
  return has_slot && next_in_[static_cast<std::size_t>(stage)] == piece;
}

}  // namespace lockstep::comm
