// SPDX-License-Identifier: Apache-2.0
// The part of ShmReduction that works on ordinary memory: through a ring of cells that stays in the cache.
#include <algorithm>
#include <cstring>

#include "../kernels.hpp"
#include "shm_reduction.hpp"

namespace lockstep::comm::shm {
namespace {

constexpr std::size_t kAheadBytes = 1 << 10;

}  // namespace

void ShmReduction::plan_rows() {
  std::int64_t longest = 0;
  for (const Range& row : rows_) longest = std::max(longest, row.size());
  plan_chunks(longest, element_bytes_ * static_cast<std::size_t>(plan_->most_partials) * rows_.size());
  reduced_ = 0;
}

// A chunk's cells: each rank copies in, reduces its slice in everybody's cells and leaves the result there; then each
// copies out of its own. So a cell's lines travel to the rank that reduces them and back, and no further.
Advanced ShmReduction::staged_until(std::chrono::steady_clock::time_point slice_end) {
  auto advanced = Advanced::not_yet;
  for (bool moved = true; moved;) {
    moved = false;
    if (copied_ < chunks_ && next_cell_is_free()) {
      copy_in(copied_);
      publish(&Channel::copied, base_ + static_cast<std::uint64_t>(++copied_));
      moved = true;
    }
    if (reduced_ < copied_ && peers_reached(&Channel::copied, base_ + static_cast<std::uint64_t>(reduced_) + 1)) {
      reduce_chunk(reduced_);
      publish(&Channel::consumed, base_ + static_cast<std::uint64_t>(++reduced_));
      moved = true;
    }
    if (consumed_ < reduced_ &&
        (is(Kind::reduce_scatter) ||
         peers_reached(&Channel::consumed, base_ + static_cast<std::uint64_t>(consumed_) + 1))) {
      copy_out(consumed_);
      ++consumed_;
      moved = true;
    }
    if (consumed_ == chunks_) return Advanced::fully;
    if (moved) advanced = Advanced::partly;
    if (moved && std::chrono::steady_clock::now() >= slice_end) break;
  }
  return advanced;
}

// Where no earlier call is in flight, the first chunk is there as soon as the line is: a wait less.
void ShmReduction::copy_in_early() {
  if (backend_.finished_ != index_) return;
  plan_rows();
  planned_early_ = true;
  if (!next_cell_is_free()) return;
  copy_in(0);
  publish(&Channel::copied, base_ + static_cast<std::uint64_t>(++copied_));
}

// Layout of a cell: [partial][row][element of the chunk]; in reduce_scatter there is a row for each rank, else one.
void ShmReduction::copy_in(std::int64_t chunk) {
  const bool scatter = is(Kind::reduce_scatter);
  std::byte* const start = cell(rank(), chunk);
  const std::size_t row_bytes = bytes_of(chunk_size_);
  for (std::size_t i = 0; i < partials_.size(); ++i) {
    for (int peer = 0; peer < world_size(); ++peer) {
      if (peer == rank()) continue;  // of our own slice only we have need, and we have it
      const int row = scatter ? peer : 0;
      const Range here = in_chunk(chunk, rows_[static_cast<std::size_t>(row)]);
      const Range part = scatter ? here : slice_of(peer, here);
      std::byte* const to = start + (i * rows_.size() + static_cast<std::size_t>(row)) * row_bytes;
      std::memcpy(to + bytes_of(part.first - here.first), partials_[i].data + bytes_of(part.first),
                  bytes_of(part.size()));
    }
  }
}

void ShmReduction::reduce_chunk(std::int64_t chunk) {
  const Call& call = request_.call;
  const bool scatter = is(Kind::reduce_scatter);
  const int row = scatter ? rank() : 0;
  const Range here = in_chunk(chunk, rows_[static_cast<std::size_t>(row)]);
  const Range part = scatter ? here : slice_of(rank(), here);
  const std::size_t row_bytes = bytes_of(chunk_size_);
  inputs_.clear();
  for (int peer = 0; peer < world_size(); ++peer) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(plan_->partials_of[static_cast<std::size_t>(peer)]); ++i) {
      if (peer == rank()) {
        inputs_.push_back(partials_[i].data + bytes_of(part.first));
      } else {
        inputs_.push_back(cell(peer, chunk) + (i * rows_.size() + static_cast<std::size_t>(row)) * row_bytes +
                          bytes_of(part.first - here.first));
      }
    }
  }
  const auto result_for = [&](int peer) { return cell(peer, chunk) + bytes_of(part.first - here.first); };
  copies_.clear();
  for (int peer = 0; is(Kind::all_reduce) && peer < world_size(); ++peer) {
    if (peer != rank()) copies_.push_back(result_for(peer));
  }
  std::byte* output = nullptr;
  if (scatter) {
    output = request_.output + bytes_of(part.first - rows_[static_cast<std::size_t>(rank())].first);
  } else {
    output = gets_result(rank()) ? request_.output + bytes_of(part.first) : result_for(call.root);
  }
  reduce_slice(inputs_, plan_->combines, part.size(), call.dtype, call.op, call.scale, output, copies_);
}

void ShmReduction::copy_out(std::int64_t chunk) {
  if (is(Kind::reduce_scatter) || !gets_result(rank())) return;
  const Range here = in_chunk(chunk, rows_.front());
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer == rank()) continue;
    const Range part = slice_of(peer, here);
    const std::byte* const result = cell(rank(), chunk) + bytes_of(part.first - here.first);
    std::byte* const output = request_.output + bytes_of(part.first);
    const std::size_t bytes = bytes_of(part.size());
    for (std::size_t at = 0; at < bytes; at += kAheadBytes) {
      const std::size_t end = std::min(at + kAheadBytes, bytes);
      own_lines(result + end, std::min(kAheadBytes, bytes - end));  // to be written by a later copy_in
      std::memcpy(output + at, result + at, end - at);
    }
  }
}

}  // namespace lockstep::comm::shm
