// SPDX-License-Identifier: Apache-2.0
#include "shm_reduction.hpp"

#include <algorithm>
#include <cstring>

#include "../kernels.hpp"
#include "../moves.hpp"

namespace lockstep::comm::shm {
namespace {

constexpr std::size_t kPieceBytes = 64 << 10;  // between two looks at the clock

}  // namespace

void ShmReduction::prepare() {
  partials_.assign(request_.partials.begin(), request_.partials.end());
  plan_ = &backend_.planner_.plan_for(request_);
  if (is(Kind::reduce_scatter)) {
    rows_ = rows_of(request_, world_size());
  } else {
    rows_.assign(1, {0, request_.call.elements});
  }
  contribution_bytes_ = bytes_of(rows_.back().last);
  most_bytes_ = contribution_bytes_ * static_cast<std::size_t>(plan_->most_partials);
}

void ShmReduction::fill_line(Line& line) {
  if (most_bytes_ > kEagerBytes) {
    const Places places = own_places();
    std::memcpy(line.payload.data(), &places, sizeof places);
    return;
  }
  if (most_bytes_ == 0) return;
  std::byte* to = most_bytes_ <= kInlineBytes ? line.payload.data() : backend_.slot(rank(), index_);
  for (const Partial& partial : partials_) {
    std::memcpy(to, partial.data, contribution_bytes_);
    to += contribution_bytes_;
  }
}

Places ShmReduction::own_places() const {
  Places places;
  const Arena& arena = backend_.group_->arena();
  bool shared = partials_.size() <= places.inputs.size();
  const auto place = [&](const void* memory, std::size_t bytes) -> std::uint64_t {
    shared = shared && arena.contains(memory, bytes);
    return shared ? arena.offset_of(memory) : 0;
  };
  for (std::size_t i = 0; shared && i < partials_.size(); ++i) {
    places.inputs[i] = place(partials_[i].data, contribution_bytes_);
  }
  if (!is(Kind::reduce_scatter) && gets_result(rank())) places.output = place(request_.output, contribution_bytes_);
  places.shared = shared ? 1 : 0;
  return places;
}

bool ShmReduction::start_data() {
  if (most_bytes_ <= kEagerBytes) {
    if (gets_result(rank()) && most_bytes_ > 0) reduce_published();
    return true;
  }
  zero_copy_ = true;
  for (int peer = 0; zero_copy_ && peer < world_size(); ++peer) zero_copy_ = places_of(peer).shared != 0;
  if (!zero_copy_) {
    plan_chunks();
    return false;
  }
  peers_reach_in_ = true;
  slice_ = is(Kind::reduce_scatter) ? rows_[static_cast<std::size_t>(rank())] : slice_of(rank(), rows_.front());
  position_ = slice_.first;
  return false;
}

void ShmReduction::reduce_published() {
  const Call& call = request_.call;
  const Range wanted = rows_[is(Kind::reduce_scatter) ? static_cast<std::size_t>(rank()) : 0];
  inputs_.clear();
  for (int peer = 0; peer < world_size(); ++peer) {
    const std::byte* data = most_bytes_ <= kInlineBytes ? line_of(peer).payload.data() : backend_.slot(peer, index_);
    for (int i = 0; i < plan_->partials_of[static_cast<std::size_t>(peer)]; ++i, data += contribution_bytes_)
      inputs_.push_back(data + bytes_of(wanted.first));
  }
  reduce_slice(inputs_, plan_->combines, wanted.size(), call.dtype, call.op, call.scale, request_.output);
}

Advanced ShmReduction::move_until(std::chrono::steady_clock::time_point slice_end) {
  return zero_copy_ ? zero_copy_until(slice_end) : staged_until(slice_end);
}

Range ShmReduction::slice_of(int rank, Range elements) const {
  return comm::slice_of(elements, world_size(), rank, element_bytes_);
}

Advanced ShmReduction::zero_copy_until(std::chrono::steady_clock::time_point slice_end) {
  const auto piece = static_cast<std::int64_t>(kPieceBytes / element_bytes_);
  while (position_ < slice_.last) {
    const std::int64_t elements = std::min(piece, slice_.last - position_);
    zero_copy_piece(position_, elements);
    position_ += elements;
    if (position_ < slice_.last && std::chrono::steady_clock::now() >= slice_end) return Advanced::partly;
  }
  return Advanced::fully;
}

void ShmReduction::zero_copy_piece(std::int64_t first, std::int64_t elements) {
  const Call& call = request_.call;
  inputs_.clear();
  for (int peer = 0; peer < world_size(); ++peer) {
    const Places places = places_of(peer);
    for (int i = 0; i < plan_->partials_of[static_cast<std::size_t>(peer)]; ++i) {
      inputs_.push_back(memory_of(peer, places.inputs[static_cast<std::size_t>(i)]) + bytes_of(first));
    }
  }
  const auto output_of = [&](int peer) { return memory_of(peer, places_of(peer).output) + bytes_of(first); };
  std::byte* output = nullptr;
  if (is(Kind::reduce_scatter)) {
    output = request_.output + bytes_of(first - slice_.first);
  } else {
    output = gets_result(rank()) ? request_.output + bytes_of(first) : output_of(call.root);
  }
  reduce_slice(inputs_, plan_->combines, elements, call.dtype, call.op, call.scale, output);
  if (!is(Kind::all_reduce)) return;
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer != rank()) std::memcpy(output_of(peer), output, bytes_of(elements));
  }
}

}  // namespace lockstep::comm::shm
