// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "../moves.hpp"
#include "shm_call.hpp"

namespace lockstep::comm::shm {

// A call of all ranks without a reduction. Receivers pull: from the line or the slot beside it (small), from the memory
// of a sender that has it in its arena, else from the sender's ring of cells, chunk by chunk.
class ShmMove final : public ShmCall {
 public:
  using ShmCall::ShmCall;
  void release() override { backend_.recycle(this); }

 private:
  void prepare() override;
  void fill_line(Line& line) override;
  [[nodiscard]] bool start_data() override;
  [[nodiscard]] Advanced move_until(std::chrono::steady_clock::time_point slice_end) override;

  [[nodiscard]] bool sizes_differ_by_pair() const noexcept {  // then receivers look into the sender's slot for them
    return request_.call.kind == Kind::all_to_all && request_.call.parts != 0;
  }
  [[nodiscard]] bool same_for_all() const noexcept;  // a sender has one thing for all who receive from it
  [[nodiscard]] std::size_t most_bytes() const;      // of all that one rank sends; the same answer on every rank
  [[nodiscard]] std::int64_t longest_block() const;  // of what this rank sends to another
  void find_blocks();
  void pull(const std::byte* data, int peer, Range part);

  [[nodiscard]] Advanced pull_until(std::chrono::steady_clock::time_point slice_end);
  [[nodiscard]] std::int64_t longest_staged() const;  // of all blocks that go through cells
  [[nodiscard]] Advanced staged_until(std::chrono::steady_clock::time_point slice_end);
  void copy_in(std::int64_t chunk);
  void copy_out(std::int64_t chunk);

  Moves moves_;
  std::vector<std::int64_t> block_at_;  // by rank: where in its input what it sends to us begins, in elements
  std::int64_t own_part_at_ = 0;        // in a list of everybody's parts, where senders have one
  std::size_t most_bytes_ = 0;
  std::vector<char> direct_;  // by rank: its input can be read in place (always: ours)
  int pulled_ = 0;            // direct senders that we are done with, counted from our rank
  std::int64_t position_ = 0;
};

}  // namespace lockstep::comm::shm
