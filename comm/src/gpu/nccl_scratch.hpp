// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "device.hpp"

namespace lockstep::comm::gpu {

// Device memory that calls on one stream work in, one after the other. Grows to what the largest of them needs; who
// still works in the old one keeps it. Graphs replay their calls at any time: what they work in is theirs for good.
class NcclScratch {
 public:
  explicit NcclScratch(Device& device) : device_(device) {}
  // Null for no bytes. Throws UsageError if it had to allocate while capturing.
  [[nodiscard]] std::shared_ptr<std::byte> take(std::size_t bytes, bool capturing);

 private:
  struct Block {
    std::shared_ptr<std::byte> memory{};
    std::size_t bytes = 0;
  };
  Device& device_;
  Block eager_;
  std::vector<Block> of_graphs_;
};

}  // namespace lockstep::comm::gpu
