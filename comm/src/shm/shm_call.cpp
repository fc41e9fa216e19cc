// SPDX-License-Identifier: Apache-2.0
#include "shm_call.hpp"

#include <algorithm>
#include <cstring>

#include "fingerprint.hpp"

namespace lockstep::comm::shm {

void ShmCall::begin(const Request& request, std::uint64_t index) {
  request_ = request;
  index_ = index;
  element_bytes_ = size_of(request.call.dtype);
  fingerprint_ = fingerprint_of(request.call);
  peers_reach_in_ = false;
  lines_seen_ = 0;
  if (!request_.agree_only) prepare();
  phase_ = try_publish() ? Phase::lines : Phase::waiting_for_line;
}

// A line may be written again when every peer is done with the call that was in it.
bool ShmCall::try_publish() {
  if (index_ >= kLines) {
    const std::uint64_t needed = index_ - kLines + 1;
    for (int peer = 0; peer < world_size(); ++peer) {
      if (peer == rank()) continue;
      std::uint64_t& known = backend_.peer_finished_[static_cast<std::size_t>(peer)];
      if (known < needed) known = backend_.of(peer).finished.value.load(std::memory_order_acquire);
      if (known < needed) return false;
    }
    if (backend_.finished_ < needed) return false;
  }
  Line& line = backend_.own().lines[index_ % kLines];
  line.fingerprint = fingerprint_;
  line.done = static_cast<std::uint32_t>(backend_.finished_);
  backend_.own().calls[index_ % kLines] = request_.call;
  if (!request_.agree_only) fill_line(line);
  line.published.store(index_ + 1, std::memory_order_release);
  backend_.group_->wake_peers();
  return true;
}

bool ShmCall::lines_are_there() {
  for (; lines_seen_ < world_size(); ++lines_seen_) {
    if (lines_seen_ == rank()) continue;
    const Line& line = line_of(lines_seen_);
    if (line.published.load(std::memory_order_acquire) != index_ + 1) return false;
    if (line.fingerprint != fingerprint_) {
      const int low = std::min(lines_seen_, rank());
      const int high = std::max(lines_seen_, rank());
      const Call& theirs = backend_.of(lines_seen_).calls[index_ % kLines];
      throw BackendFailure{
          mismatch(low, low == rank() ? request_.call : theirs, high, high == rank() ? request_.call : theirs)};
    }
    // 32 bits of the count are enough: a peer is never more than kLines calls away.
    std::uint64_t& known = backend_.peer_finished_[static_cast<std::size_t>(lines_seen_)];
    const auto ahead = static_cast<std::int32_t>(line.done - static_cast<std::uint32_t>(known));
    if (ahead > 0) known += static_cast<std::uint64_t>(ahead);
  }
  return true;
}

void ShmCall::complete() {
  phase_ = Phase::done;
  backend_.finished_ = index_ + 1;
  // Peers read it when they want a line of ours that is kLines calls old, or wait for us to leave their memory.
  backend_.own().finished.value.store(index_ + 1, std::memory_order_release);
}

Advanced ShmCall::advance(std::chrono::steady_clock::time_point slice_end) {
  if (phase_ == Phase::waiting_for_line && try_publish()) phase_ = Phase::lines;
  auto moved = Advanced::not_yet;
  if (phase_ == Phase::lines) {
    if (backend_.finished_ != index_ || !lines_are_there()) return moved;
    moved = Advanced::partly;
    if (request_.agree_only || start_data()) {
      complete();
      return Advanced::fully;
    }
    phase_ = Phase::data;
  }
  if (phase_ == Phase::data) {
    const Advanced advanced = move_until(slice_end);
    if (advanced != Advanced::fully) return std::max(moved, advanced);
    moved = Advanced::partly;
    if (!peers_reach_in_) {
      complete();
      return Advanced::fully;
    }
    // Counted as finished before it is: peers wait for exactly this, and our line is not needed any more.
    publish(&Channel::finished, index_ + 1);
    phase_ = Phase::leaving;
  }
  if (phase_ == Phase::leaving && peers_have_left()) {
    complete();
    return Advanced::fully;
  }
  return moved;
}

bool ShmCall::peers_have_left() {
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer == rank()) continue;
    std::uint64_t& known = backend_.peer_finished_[static_cast<std::size_t>(peer)];
    if (known <= index_) known = backend_.of(peer).finished.value.load(std::memory_order_acquire);
    if (known <= index_) return false;
  }
  return true;
}

Places ShmCall::places_of(int peer) const {
  Places places;
  std::memcpy(&places, line_of(peer).payload.data(), sizeof places);
  return places;
}

bool ShmCall::peers_reached(Counter Channel::*counter, std::uint64_t value) const {
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer != rank() && (backend_.of(peer).*counter).value.load(std::memory_order_acquire) < value) return false;
  }
  return true;
}

void ShmCall::publish(Counter Channel::*counter, std::uint64_t value) {
  (backend_.own().*counter).value.store(value, std::memory_order_release);
  backend_.group_->wake_peers();
}

std::byte* ShmCall::room_to_publish(Line& line, std::size_t bytes) const {
  return bytes <= kInlineBytes ? line.payload.data() : backend_.slot(rank(), index_);
}

const std::byte* ShmCall::published_by(int peer, std::size_t bytes) const {
  return bytes <= kInlineBytes ? line_of(peer).payload.data() : backend_.slot(peer, index_);
}

void ShmCall::plan_chunks(std::int64_t longest, std::size_t bytes_per_element) {
  const auto line = static_cast<std::int64_t>(kLineBytes / element_bytes_);
  chunk_size_ = std::max(static_cast<std::int64_t>(kCellBytes / bytes_per_element) / line * line, line);
  chunks_ = (longest + chunk_size_ - 1) / chunk_size_;
  base_ = backend_.chunks_;
  backend_.chunks_ += static_cast<std::uint64_t>(chunks_);
  copied_ = consumed_ = 0;
}

Range ShmCall::in_chunk(std::int64_t chunk, Range elements) const {
  return {std::min(elements.first + chunk * chunk_size_, elements.last),
          std::min(elements.first + (chunk + 1) * chunk_size_, elements.last)};
}

std::byte* ShmCall::cell(int peer, std::int64_t chunk) const {
  return backend_.of(peer).cells[(base_ + static_cast<std::uint64_t>(chunk)) % kCells].data();
}

bool ShmCall::next_cell_is_free() const {
  if (copied_ - consumed_ >= static_cast<std::int64_t>(kCells)) return false;
  const std::uint64_t next = base_ + static_cast<std::uint64_t>(copied_) + 1;
  return next <= kCells || peers_reached(&Channel::consumed, next - kCells);
}

std::vector<int> ShmCall::missing() const {
  std::vector<int> ranks;
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer == rank()) continue;
    const bool here = line_of(peer).published.load(std::memory_order_acquire) >= index_ + 1;
    const bool left = backend_.of(peer).finished.value.load(std::memory_order_acquire) > index_;
    if (phase_ == Phase::lines || phase_ == Phase::waiting_for_line ? !here : !left) ranks.push_back(peer);
  }
  return ranks;
}

}  // namespace lockstep::comm::shm
