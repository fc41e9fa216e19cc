// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "lockstep/dataloader/records.hpp"

namespace lockstep {

// Shards that are opened, and checked, at their first use: a checksum at the data set's opening would read all of it
// before the first step. `Opened` has the member held_bytes: what it keeps in memory or on disk, 0 for a mapped file.
// Once the sum is over the limit, those that were used longest ago are let go. Thread-safe.
template <typename Opened>
class ShardCache {
 public:
  using Pointer = std::shared_ptr<const Opened>;
  // Throws DamagedSample, which is remembered: the shard is not read again to find the same; and IoError.
  using Open = std::function<Pointer(std::size_t shard)>;

  ShardCache(std::size_t shards, std::uint64_t limit_bytes, Open open)
      : limit_bytes_(limit_bytes), open_(std::move(open)), slots_(shards) {}

  [[nodiscard]] Pointer get(std::size_t shard) {
    auto& slot = slots_[shard];
    if (auto opened = find(slot)) return opened;
    const std::lock_guard opening(slot.opening);
    if (auto opened = find(slot)) return opened;  // another thread was faster
    if (slot.damage) throw DamagedSample(*slot.damage);
    try {
      return keep(slot, open_(shard));
    } catch (const DamagedSample& error) {
      slot.damage = error.text();
      throw;
    }
  }

 private:
  struct Slot {
    std::mutex opening;
    std::optional<ErrorText> damage;  // guarded by opening
    Pointer opened;                   // guarded by mutex_, as the rest
    std::uint64_t used = 0;
  };

  Pointer find(Slot& slot) {
    const std::lock_guard lock(mutex_);
    slot.used = ++uses_;
    return slot.opened;
  }

  Pointer keep(Slot& slot, Pointer opened) {
    const std::lock_guard lock(mutex_);
    slot.opened = opened;
    held_bytes_ += opened->held_bytes;
    while (held_bytes_ > limit_bytes_ && let_go_except(slot)) {
    }
    return opened;
  }

  bool let_go_except(const Slot& keep) {
    Slot* oldest = nullptr;
    for (auto& slot : slots_) {
      const bool counts = &slot != &keep && slot.opened && slot.opened->held_bytes > 0;
      if (counts && (oldest == nullptr || slot.used < oldest->used)) oldest = &slot;
    }
    if (oldest == nullptr) return false;
    held_bytes_ -= oldest->opened->held_bytes;
    oldest->opened.reset();
    return true;
  }

  const std::uint64_t limit_bytes_;
  const Open open_;
  std::mutex mutex_;
  std::vector<Slot> slots_;
  std::uint64_t held_bytes_ = 0;
  std::uint64_t uses_ = 0;
};

}  // namespace lockstep
