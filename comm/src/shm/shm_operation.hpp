// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "shm_backend.hpp"

namespace lockstep::comm::shm {

// One call. Its line is published when it starts; the rest happens when it is the oldest of its communicator:
//   lines      until every peer's line is there and agrees
//   inline     small payloads lie in the lines: done at once
//   zero-copy  all memory lies in arenas: each rank reduces its slice of everybody's and writes it to everybody's
//   staged     chunk by chunk through a ring of cells: copy in, reduce, copy out, each a step ahead of the next
class ShmOperation final : public Operation {
 public:
  explicit ShmOperation(ShmBackend& backend) : backend_(backend) {}
  void begin(const Request& request, std::uint64_t index);
  bool advance(std::chrono::steady_clock::time_point slice_end) override;
  [[nodiscard]] std::vector<int> missing() const override;
  void release() override { backend_.recycle(this); }

 private:
  enum class Phase { waiting_for_line, lines, zero_copy, leaving, staged, done };

  // publishing
  [[nodiscard]] bool try_publish();
  void fill_payload(Line& line);
  [[nodiscard]] Places own_places() const;

  // the lines
  [[nodiscard]] bool lines_are_there();
  [[nodiscard]] const Line& line_of(int peer) const { return backend_.of(peer).lines[index_ % kLines]; }
  void choose_path();
  void finish_inline();
  void complete();

  // zero-copy
  [[nodiscard]] bool zero_copy_until(std::chrono::steady_clock::time_point slice_end);
  void zero_copy_piece(std::int64_t first, std::int64_t elements);
  [[nodiscard]] bool peers_have_left();

  // staged
  void plan_chunks();
  [[nodiscard]] bool staged_until(std::chrono::steady_clock::time_point slice_end);
  [[nodiscard]] std::int64_t chunk_elements(std::int64_t chunk) const;
  [[nodiscard]] std::byte* cell(int peer, std::int64_t chunk) const;
  void copy_in(std::int64_t chunk);
  void reduce_chunk(std::int64_t chunk);
  void copy_out(std::int64_t chunk);

  [[nodiscard]] bool is_reduction() const noexcept;
  [[nodiscard]] bool is_inline() const noexcept { return payload_bytes_ <= kInlineBytes; }
  [[nodiscard]] std::size_t bytes_of(std::int64_t elements) const noexcept {
    return static_cast<std::size_t>(elements) * element_bytes_;
  }
  [[nodiscard]] Range slice_of(int rank, std::int64_t elements) const;
  void gather_inputs(std::int64_t first);  // into inputs_: all ranks' partials at element `first`

  ShmBackend& backend_;
  Request request_;
  std::vector<Partial> partials_;
  std::uint64_t index_ = 0;
  std::size_t element_bytes_ = 1;
  std::size_t payload_bytes_ = 0;  // of this rank's contribution, the most of all ranks
  std::uint32_t fingerprint_ = 0;
  Phase phase_ = Phase::done;
  int lines_seen_ = 0;  // of ranks 0 … lines_seen_−1
  const ShmBackend::TreePlan* plan_ = nullptr;
  std::vector<const std::byte*> inputs_;
  Range slice_{};  // zero-copy: the elements that this rank works on
  std::int64_t position_ = 0;
  bool one_shot_ = false;
  std::int64_t chunk_size_ = 1;  // elements
  std::int64_t chunks_ = 0;
  std::int64_t copied_ = 0, reduced_ = 0, consumed_ = 0;  // chunks of this call
  std::uint64_t base_ = 0;                                // chunks of the calls before
};

}  // namespace lockstep::comm::shm
