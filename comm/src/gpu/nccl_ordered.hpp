// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "nccl_calls.hpp"

namespace lockstep::comm::gpu {

// A reduction in the order of the tree, which NCCL cannot be told: each rank takes its share of all partial sums from
// their ranks, adds it up by our kernel and passes the result on. Small ones are taken whole by all that need the
// result, which costs one group and one kernel.
class OrderedReduction {
 public:
  // Throws UsageError for more partials than the kernel takes.
  OrderedReduction(const Request& request, const TreePlan& plan, int rank, int world_size);
  [[nodiscard]] std::size_t scratch_bytes() const noexcept { return scratch_bytes_; }
  // Scratch memory is 16-byte aligned.
  void queue(NcclLane& lane, std::byte* scratch) const;

 private:
  [[nodiscard]] std::size_t bytes(std::int64_t elements) const noexcept {
    return bytes_of(elements, request_.call.dtype);
  }
  [[nodiscard]] Range own_share() const noexcept { return shares_[static_cast<std::size_t>(rank_)]; }
  [[nodiscard]] bool one_partial_a_rank() const noexcept;
  void divide();
  void gather_partials(NcclLane& lane, std::byte* scratch) const;
  void add_up(NcclLane& lane, const std::byte* first, std::byte* result) const;
  void pass_on(NcclLane& lane, std::byte* result) const;

  const Request& request_;
  const TreePlan& plan_;
  int rank_, world_size_;
  bool whole_ = false;             // small: nobody passes anything on
  bool own_partial_only_ = false;  // a world of one, out of place: the kernel reads where it lies
  std::vector<Range> shares_;      // by rank: the elements that it adds up
  std::int64_t slice_ = 0;         // elements of all shares but the last one's, if not `whole_`
  std::size_t stride_ = 0;         // between partial sums in scratch memory
  std::size_t result_at_ = 0;      // in scratch memory, where this rank has no output
  std::size_t scratch_bytes_ = 0;
};

}  // namespace lockstep::comm::gpu
