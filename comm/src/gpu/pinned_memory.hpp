// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "device.hpp"

namespace lockstep::comm::gpu {

// Pinned memory that calls of one communicator use again and again, because to pin memory is slow and may wait for the
// device. Not thread-safe.
class PinnedMemory {
 public:
  struct Block {
    std::shared_ptr<std::byte> memory{};
    std::size_t bytes = 0;
  };

  explicit PinnedMemory(Device& device) : device_(device) {}
  // Of at least so many bytes. Throws BackendFailure.
  [[nodiscard]] Block take(std::size_t bytes);
  // Of a block on which neither the device nor a peer works any more.
  void give_back(Block block) { free_.push_back(std::move(block)); }

 private:
  Device& device_;
  std::vector<Block> free_;
};

}  // namespace lockstep::comm::gpu
