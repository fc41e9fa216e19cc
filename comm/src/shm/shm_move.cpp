// SPDX-License-Identifier: Apache-2.0
#include "shm_move.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

namespace lockstep::comm::shm {
namespace {

constexpr std::size_t kPieceBytes = 256 << 10;  // between two looks at the clock

}  // namespace

bool ShmMove::same_for_all() const noexcept {
  const Kind kind = request_.call.kind;
  return kind != Kind::scatter && kind != Kind::all_to_all;
}

std::size_t ShmMove::most_bytes() const {
  const Call& call = request_.call;
  if (call.kind == Kind::barrier) return 0;
  if (sizes_differ_by_pair()) return std::numeric_limits<std::size_t>::max();
  std::int64_t most = call.elements;
  if (!request_.parts.empty() && same_for_all()) most = *std::max_element(request_.parts.begin(), request_.parts.end());
  if (request_.parts.empty() && !same_for_all()) most *= world_size();
  return bytes_of(most);
}

std::int64_t ShmMove::longest_block() const {
  std::int64_t longest = 0;
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer != rank()) longest = std::max(longest, moves_.outgoing[static_cast<std::size_t>(peer)].size());
  }
  return longest;
}

void ShmMove::prepare() {
  moves_ = moves_of(request_, rank(), world_size());
  if (!same_for_all()) own_part_at_ = rows_of(request_, world_size())[static_cast<std::size_t>(rank())].first;
  most_bytes_ = most_bytes();
}

void ShmMove::fill_line(Line& line) {
  std::int64_t given = 0;
  for (const Range& block : moves_.outgoing) given = std::max(given, block.last);
  if (most_bytes_ <= backend_.eager_bytes()) {
    if (given > 0) std::memcpy(room_to_publish(line, most_bytes_), request_.input, bytes_of(given));
    return;
  }
  Places places;
  const Arena& arena = backend_.group_->arena();
  if (given == 0 || arena.contains(request_.input, bytes_of(given))) {
    places.shared = 1;
    places.inputs[0] = given == 0 ? 0 : arena.offset_of(request_.input);
  }
  places.inputs[1] = static_cast<std::uint64_t>(longest_block());
  std::memcpy(line.payload.data(), &places, sizeof places);
  if (!sizes_differ_by_pair()) return;
  std::vector<std::int64_t> sizes;
  for (const Range& block : moves_.outgoing) sizes.push_back(block.size());
  std::memcpy(backend_.slot(rank(), index_), sizes.data(), sizes.size() * sizeof sizes[0]);
}

// Where in each sender's memory our block begins, and, where only pairs know the sizes, whether they agree.
void ShmMove::find_blocks() {
  block_at_.assign(static_cast<std::size_t>(world_size()), 0);
  const auto self = static_cast<std::size_t>(rank());
  if (!same_for_all() && !sizes_differ_by_pair()) {
    block_at_.assign(block_at_.size(), own_part_at_);  // everybody's parts are alike
  }
  if (!sizes_differ_by_pair()) return;
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(world_size()));
  for (std::size_t peer = 0; peer < sizes.size(); ++peer) {
    std::memcpy(sizes.data(), backend_.slot(static_cast<int>(peer), index_), sizes.size() * sizeof sizes[0]);
    for (std::size_t before = 0; before < self; ++before) block_at_[peer] += sizes[before];
    if (sizes[self] == moves_.incoming[peer].size()) continue;
    throw BackendFailure{
        unequal_parts(static_cast<int>(peer), sizes[self], rank(), moves_.incoming[peer].size(), request_.call)};
  }
}

bool ShmMove::start_data() {
  if (most_bytes_ == 0) return true;
  find_blocks();
  if (most_bytes_ <= backend_.eager_bytes()) {
    for (int peer = 0; peer < world_size(); ++peer) {
      pull(published_by(peer, most_bytes_), peer, {0, moves_.incoming[static_cast<std::size_t>(peer)].size()});
    }
    return true;
  }
  direct_.resize(static_cast<std::size_t>(world_size()));
  for (int peer = 0; peer < world_size(); ++peer) {
    const auto p = static_cast<std::size_t>(peer);
    const Places places = places_of(peer);
    direct_[p] = places.shared != 0;
    peers_reach_in_ = peers_reach_in_ || places.shared != 0;
    if (direct_[p] && peer != rank())
      backend_.group_->prepare(peer, places.inputs[0] + bytes_of(block_at_[p] + moves_.incoming[p].size()));
  }
  const std::size_t copies = same_for_all() ? 1 : static_cast<std::size_t>(world_size());
  plan_chunks(longest_staged(),
              element_bytes_ * copies);  // before our own place is overruled: all ranks must come to the same number
  direct_[static_cast<std::size_t>(rank())] = 1;
  pulled_ = 0;
  position_ = 0;
  return false;
}

// Copies elements `part` of the block that `peer` has for us; `data` is its input.
void ShmMove::pull(const std::byte* data, int peer, Range part) {
  const auto p = static_cast<std::size_t>(peer);
  std::byte* const to = request_.output + bytes_of(moves_.incoming[p].first + part.first);
  const std::byte* const from = data + bytes_of(block_at_[p] + part.first);
  if (!part.empty() && to != from) std::memcpy(to, from, bytes_of(part.size()));
}

Advanced ShmMove::move_until(std::chrono::steady_clock::time_point slice_end) {
  const Advanced direct = pull_until(slice_end);
  if (direct == Advanced::partly && std::chrono::steady_clock::now() >= slice_end) return direct;
  const Advanced staged = staged_until(slice_end);
  return direct == Advanced::fully ? staged : Advanced::partly;
}

Advanced ShmMove::pull_until(std::chrono::steady_clock::time_point slice_end) {
  const auto piece = static_cast<std::int64_t>(kPieceBytes / element_bytes_);
  for (; pulled_ < world_size(); ++pulled_, position_ = 0) {
    const int peer = (rank() + pulled_) % world_size();  // not all from the same one
    if (!direct_[static_cast<std::size_t>(peer)]) continue;
    const std::int64_t elements = moves_.incoming[static_cast<std::size_t>(peer)].size();
    if (elements == 0) continue;
    const std::byte* const data = peer == rank() ? request_.input : memory_of(peer, places_of(peer).inputs[0]);
    while (position_ < elements) {
      const std::int64_t end = std::min(position_ + piece, elements);
      pull(data, peer, {position_, end});
      position_ = end;
      if (position_ < elements && std::chrono::steady_clock::now() >= slice_end) return Advanced::partly;
    }
  }
  return Advanced::fully;
}

std::int64_t ShmMove::longest_staged() const {
  std::int64_t longest = 0;
  for (int peer = 0; peer < world_size(); ++peer) {
    if (!direct_[static_cast<std::size_t>(peer)])
      longest = std::max(longest, static_cast<std::int64_t>(places_of(peer).inputs[1]));
  }
  return longest;
}

Advanced ShmMove::staged_until(std::chrono::steady_clock::time_point slice_end) {
  auto advanced = Advanced::not_yet;
  for (bool moved = true; moved && consumed_ < chunks_;) {
    moved = false;
    if (copied_ < chunks_ && next_cell_is_free()) {
      copy_in(copied_);
      publish(&Channel::copied, base_ + static_cast<std::uint64_t>(++copied_));
      moved = true;
    }
    if (consumed_ < copied_ && peers_reached(&Channel::copied, base_ + static_cast<std::uint64_t>(consumed_) + 1)) {
      copy_out(consumed_);
      publish(&Channel::consumed, base_ + static_cast<std::uint64_t>(++consumed_));
      moved = true;
    }
    if (moved) advanced = Advanced::partly;
    if (moved && std::chrono::steady_clock::now() >= slice_end) break;
  }
  return consumed_ == chunks_ ? Advanced::fully : advanced;
}

// Layout of a cell: the chunk of what all get, or [receiver][element of the chunk].
void ShmMove::copy_in(std::int64_t chunk) {
  std::byte* const start = cell(rank(), chunk);
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer == rank()) continue;
    const Range part = in_chunk(chunk, moves_.outgoing[static_cast<std::size_t>(peer)]);
    if (part.empty()) continue;
    std::byte* const to = start + (same_for_all() ? 0 : bytes_of(peer * chunk_size_));
    std::memcpy(to, request_.input + bytes_of(part.first), bytes_of(part.size()));
    if (same_for_all()) return;
  }
}

void ShmMove::copy_out(std::int64_t chunk) {
  for (int peer = 0; peer < world_size(); ++peer) {
    if (direct_[static_cast<std::size_t>(peer)]) continue;
    const Range part = in_chunk(chunk, moves_.incoming[static_cast<std::size_t>(peer)]);
    if (part.empty()) continue;
    const std::byte* const from = cell(peer, chunk) + (same_for_all() ? 0 : bytes_of(rank() * chunk_size_));
    std::memcpy(request_.output + bytes_of(part.first), from, bytes_of(part.size()));
  }
}

}  // namespace lockstep::comm::shm
