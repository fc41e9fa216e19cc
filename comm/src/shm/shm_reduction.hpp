// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "../tree_plan.hpp"
#include "shm_call.hpp"

namespace lockstep::comm::shm {

// all_reduce, reduce_scatter and reduce, by the size of what a rank contributes and where it lies:
//   inline     in the line
//   eager      in a slot beside the line, written before the line is published: each rank reduces all by itself
//   zero-copy  all memory lies in arenas: each rank reduces its slice of everybody's and writes it to everybody's
//   staged     chunk by chunk through a ring of cells: copy in, reduce a slice, copy out, each a step ahead of the next
class ShmReduction final : public ShmCall {
 public:
  using ShmCall::ShmCall;
  void release() override { backend_.recycle(this); }

 private:
  void prepare() override;
  void fill_line(Line& line) override;
  [[nodiscard]] bool start_data() override;
  [[nodiscard]] Advanced move_until(std::chrono::steady_clock::time_point slice_end) override;

  [[nodiscard]] bool is(Kind kind) const noexcept { return request_.call.kind == kind; }
  [[nodiscard]] bool gets_result(int rank) const noexcept { return !is(Kind::reduce) || rank == request_.call.root; }
  [[nodiscard]] Places own_places() const;
  void reduce_published();  // all contributions lie in the lines or in the slots

  [[nodiscard]] Advanced zero_copy_until(std::chrono::steady_clock::time_point slice_end);

  void plan_rows();  // their chunks
  [[nodiscard]] Advanced staged_until(std::chrono::steady_clock::time_point slice_end);
  void copy_in_early();
  void copy_in(std::int64_t chunk);
  void reduce_chunk(std::int64_t chunk);
  void copy_out(std::int64_t chunk);

  [[nodiscard]] Range slice_of(int rank, Range elements) const;  // what `rank` reduces of an all_reduce or reduce

  std::vector<Partial> partials_;
  std::vector<Range> rows_;             // reduce_scatter: by rank; else one for the whole
  std::size_t contribution_bytes_ = 0;  // of one partial sum
  std::size_t most_bytes_ = 0;          // of all partial sums of the rank that has the most
  const TreePlan* plan_ = nullptr;
  std::vector<const std::byte*> inputs_;
  std::vector<std::byte*> copies_;  // in peers' memory
  bool zero_copy_ = false;
  bool planned_early_ = false;  // the chunks, before the line was published
  Range slice_{};               // zero-copy: the elements of the input that this rank works on
  std::int64_t position_ = 0;
  std::int64_t reduced_ = 0;  // chunks of this call
};

}  // namespace lockstep::comm::shm
