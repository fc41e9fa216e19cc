// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../tree_plan.hpp"
#include "nccl_lane.hpp"

namespace lockstep::comm::gpu {

[[nodiscard]] inline std::size_t bytes_of(std::int64_t elements, DType dtype) noexcept {
  return static_cast<std::size_t>(elements) * size_of(dtype);
}
[[nodiscard]] inline bool overlap(const std::byte* a, std::size_t a_bytes, const std::byte* b,
                                  std::size_t b_bytes) noexcept {
  return a < b + b_bytes && b < a + a_bytes;
}

// Queues a call that moves data: as NCCL's own where it has one, else as sends and receives of one group.
void queue_moves(NcclLane& lane, const Request& request);

// A reduction in NCCL's own order.
class NcclReduction {
 public:
  // Whether NCCL can do it; the same on every rank.
  [[nodiscard]] static bool has(const NcclApi& nccl, const Request& request, const TreePlan& plan, int world_size);

  NcclReduction(const Request& request, int rank, int world_size);
  [[nodiscard]] std::size_t scratch_bytes() const noexcept { return copied_bytes_; }
  void queue(NcclLane& lane, std::byte* scratch) const;

 private:
  const Request& request_;
  ReduceOp op_;
  double scale_;                  // what NCCL does not multiply by
  std::int64_t written_ = 0;      // elements of this rank's output
  std::size_t copied_bytes_ = 0;  // of an input that lies across the output: NCCL takes none or the same place
};

}  // namespace lockstep::comm::gpu
