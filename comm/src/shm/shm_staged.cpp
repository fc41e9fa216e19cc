// SPDX-License-Identifier: Apache-2.0
// The part of ShmOperation that moves ordinary memory: through a ring of cells that stays in the cache.
#include <algorithm>
#include <cstring>

#include "../kernels.hpp"
#include "shm_operation.hpp"

namespace lockstep::comm::shm {
namespace {

constexpr std::size_t kOneShotBytes = 32 << 10;    // up to here every rank reduces everything: one synchronisation
constexpr std::size_t kResultAt = kCellBytes / 2;  // in a cell: inputs before, the reduced slice behind

}  // namespace

// All counts follow from the call, so that every rank has the same chunks.
void ShmOperation::plan_chunks() {
  const Call& call = request_.call;
  std::size_t bytes_per_element = element_bytes_;  // of a cell's input part
  std::size_t room = kCellBytes;
  one_shot_ = false;
  if (is_reduction()) bytes_per_element *= static_cast<std::size_t>(plan_->most_partials);
  if (call.kind == Kind::reduce_scatter) bytes_per_element *= static_cast<std::size_t>(backend_.world_size());
  if (call.kind == Kind::all_reduce) {
    one_shot_ = payload_bytes_ * static_cast<std::size_t>(backend_.world_size()) <= 4 * kOneShotBytes;
    if (!one_shot_) room = kResultAt;
  }
  const auto line = static_cast<std::int64_t>(64 / element_bytes_);
  chunk_size_ = std::max(static_cast<std::int64_t>(room / bytes_per_element) / line * line, line);
  chunks_ = (call.elements + chunk_size_ - 1) / chunk_size_;
  base_ = backend_.chunks_;
  backend_.chunks_ += static_cast<std::uint64_t>(chunks_);
  copied_ = reduced_ = consumed_ = 0;
}

std::int64_t ShmOperation::chunk_elements(std::int64_t chunk) const {
  return std::min(chunk_size_, request_.call.elements - chunk * chunk_size_);
}

std::byte* ShmOperation::cell(int peer, std::int64_t chunk) const {
  return backend_.of(peer).cells[(base_ + static_cast<std::uint64_t>(chunk)) % kCells].data();
}

bool ShmOperation::staged_until(std::chrono::steady_clock::time_point slice_end) {
  const auto peers_reached = [&](Counter Channel::*counter, std::uint64_t value) {
    for (int peer = 0; peer < backend_.world_size(); ++peer) {
      if (peer != backend_.rank() && (backend_.of(peer).*counter).value.load(std::memory_order_acquire) < value)
        return false;
    }
    return true;
  };
  const auto publish = [&](Counter Channel::*counter, std::int64_t chunk) {
    (backend_.own().*counter).value.store(base_ + static_cast<std::uint64_t>(chunk), std::memory_order_release);
    backend_.group_->wake_peers();
  };
  const bool has_results = request_.call.kind == Kind::all_reduce && !one_shot_;
  for (bool moved = true; moved;) {
    moved = false;
    const std::uint64_t next = base_ + static_cast<std::uint64_t>(copied_) + 1;
    if (copied_ < chunks_ && copied_ - consumed_ < static_cast<std::int64_t>(kCells) &&
        (next <= kCells || peers_reached(&Channel::consumed, next - kCells))) {
      copy_in(copied_);
      publish(&Channel::copied, ++copied_);
      moved = true;
    }
    if (reduced_ < copied_ && peers_reached(&Channel::copied, base_ + static_cast<std::uint64_t>(reduced_) + 1)) {
      reduce_chunk(reduced_);
      ++reduced_;
      if (has_results) publish(&Channel::reduced, reduced_);
      moved = true;
    }
    if (consumed_ < reduced_ &&
        (!has_results || peers_reached(&Channel::reduced, base_ + static_cast<std::uint64_t>(consumed_) + 1))) {
      copy_out(consumed_);
      publish(&Channel::consumed, ++consumed_);
      moved = true;
    }
    if (consumed_ == chunks_) return true;
    if (moved && std::chrono::steady_clock::now() >= slice_end) return false;
  }
  return false;
}

// Layout of a cell: all_reduce [partial][element], reduce_scatter [partial][row][element], others [element].
void ShmOperation::copy_in(std::int64_t chunk) {
  const Call& call = request_.call;
  const std::int64_t elements = chunk_elements(chunk);
  const std::int64_t first = chunk * chunk_size_;
  std::byte* to = cell(backend_.rank(), chunk);
  if (call.kind == Kind::broadcast || call.kind == Kind::all_gather) {
    const bool gives = call.kind == Kind::all_gather || backend_.rank() == call.root;
    if (gives) std::memcpy(to, request_.input + bytes_of(first), bytes_of(elements));
    return;
  }
  const bool scatter = call.kind == Kind::reduce_scatter;
  for (const Partial& partial : partials_) {
    for (int peer = 0; peer < backend_.world_size(); ++peer) {
      // Of our own slice only we have need, and we have it.
      if (!one_shot_ && peer == backend_.rank()) continue;
      const Range part = scatter ? Range{0, elements} : slice_of(peer, elements);
      const std::byte* const from = partial.data + bytes_of((scatter ? peer * call.elements : 0) + first + part.first);
      std::memcpy(to + bytes_of((scatter ? peer * chunk_size_ : 0) + part.first), from, bytes_of(part.size()));
    }
    to += bytes_of(chunk_size_) * static_cast<std::size_t>(scatter ? backend_.world_size() : 1);
  }
}

void ShmOperation::reduce_chunk(std::int64_t chunk) {
  const Call& call = request_.call;
  if (!is_reduction()) return;
  const std::int64_t elements = chunk_elements(chunk);
  const std::int64_t first = chunk * chunk_size_;
  const bool scatter = call.kind == Kind::reduce_scatter;
  const Range part = scatter || one_shot_ ? Range{0, elements} : slice_of(backend_.rank(), elements);
  const std::int64_t row = scatter ? backend_.rank() : 0;
  const std::size_t stride = bytes_of(chunk_size_) * static_cast<std::size_t>(scatter ? backend_.world_size() : 1);
  inputs_.clear();
  for (int peer = 0; peer < backend_.world_size(); ++peer) {
    for (int i = 0; i < plan_->partials_of[static_cast<std::size_t>(peer)]; ++i) {
      if (peer == backend_.rank()) {
        inputs_.push_back(partials_[static_cast<std::size_t>(i)].data +
                          bytes_of(row * call.elements + first + part.first));
      } else {
        inputs_.push_back(cell(peer, chunk) + static_cast<std::size_t>(i) * stride +
                          bytes_of(row * chunk_size_ + part.first));
      }
    }
  }
  std::byte* const output = request_.output + bytes_of(first + part.first);
  reduce_slice(inputs_, plan_->combines, part.size(), call.dtype, call.op, call.scale, output);
  if (call.kind == Kind::all_reduce && !one_shot_) {
    std::memcpy(cell(backend_.rank(), chunk) + kResultAt, output, bytes_of(part.size()));
  }
}

void ShmOperation::copy_out(std::int64_t chunk) {
  const Call& call = request_.call;
  const std::int64_t elements = chunk_elements(chunk);
  const std::int64_t first = chunk * chunk_size_;
  if (call.kind == Kind::broadcast) {
    if (backend_.rank() != call.root)
      std::memcpy(request_.output + bytes_of(first), cell(call.root, chunk), bytes_of(elements));
  } else if (call.kind == Kind::all_gather) {
    for (int peer = 0; peer < backend_.world_size(); ++peer) {
      std::memcpy(request_.output + bytes_of(peer * call.elements + first), cell(peer, chunk), bytes_of(elements));
    }
  } else if (call.kind == Kind::all_reduce && !one_shot_) {
    for (int peer = 0; peer < backend_.world_size(); ++peer) {
      if (peer == backend_.rank()) continue;
      const Range part = slice_of(peer, elements);
      std::memcpy(request_.output + bytes_of(first + part.first), cell(peer, chunk) + kResultAt, bytes_of(part.size()));
    }
  }
}

}  // namespace lockstep::comm::shm
