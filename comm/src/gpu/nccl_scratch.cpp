// SPDX-License-Identifier: Apache-2.0
#include "nccl_scratch.hpp"

#include <fmt/format.h>

#include <utility>

#include "lockstep/base/error.hpp"

namespace lockstep::comm::gpu {

std::shared_ptr<std::byte> NcclScratch::take(std::size_t bytes, bool capturing) {
  constexpr std::size_t kGrain = 64 << 10;
  if (bytes == 0) return nullptr;
  if (!capturing) {
    if (eager_.bytes < bytes) {
      const std::size_t room = (bytes + kGrain - 1) / kGrain * kGrain;
      eager_ = {device_.allocate(room), room};
    }
    return eager_.memory;
  }
  for (const Block& block : of_graphs_) {
    if (block.bytes >= bytes) return block.memory;
  }
  if (eager_.bytes < bytes) {
    throw UsageError({.what = "collective captured into a CUDA graph",
                      .why = fmt::format("it needs {} more bytes of GPU memory than any call so far, and none can be "
                                         "allocated during a capture",
                                         bytes - eager_.bytes),
                      .fix = "run at least one step of the same calls and sizes before the capture"});
  }
  return of_graphs_.emplace_back(std::exchange(eager_, {})).memory;
}

}  // namespace lockstep::comm::gpu
