// SPDX-License-Identifier: Apache-2.0
#include "shm_reduction.hpp"

#include <algorithm>
#include <cstring>

#include "../kernels.hpp"
#include "../moves.hpp"

namespace lockstep::comm::shm {
namespace {

constexpr std::size_t kSliceBytes = 64 << 10;  // between two looks at the clock

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
  planned_early_ = false;
  zero_copy_ = false;
}

void ShmReduction::fill_line(Line& line) {
  if (most_bytes_ > backend_.eager_bytes()) {
    const Places places = own_places();
    std::memcpy(line.payload.data(), &places, sizeof places);
    if (places.shared == 0) copy_in_early();
    return;
  }
  if (most_bytes_ == 0) return;
  std::byte* to = room_to_publish(line, most_bytes_);
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
  if (most_bytes_ <= backend_.eager_bytes()) {
    if (gets_result(rank()) && most_bytes_ > 0) reduce_published();
    return true;
  }
  zero_copy_ = true;
  for (int peer = 0; zero_copy_ && peer < world_size(); ++peer) zero_copy_ = places_of(peer).shared != 0;
  if (!zero_copy_) {
    if (!planned_early_) plan_rows();
    return false;
  }
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer == rank()) continue;
    const Places places = places_of(peer);
    const std::uint64_t last = std::max(places.output, *std::max_element(places.inputs.begin(), places.inputs.end()));
    backend_.group_->prepare(peer, last + contribution_bytes_);
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
    const std::byte* data = published_by(peer, most_bytes_);
    for (int i = 0; i < plan_->partials_of[static_cast<std::size_t>(peer)]; ++i, data += contribution_bytes_)
      inputs_.push_back(data + bytes_of(wanted.first));
  }
  reduce_slice(inputs_, plan_->combines, wanted.size(), call.dtype, call.op, call.scale, request_.output);
}

Advanced ShmReduction::move_until(std::chrono::steady_clock::time_point slice_end) {
  return zero_copy_ ? zero_copy_until(slice_end) : staged_until(slice_end);
}

// Through cells, where ranks disturb each other less than in each other's memory, slices begin at lines.
Range ShmReduction::slice_of(int rank, Range elements) const {
  return comm::slice_of(elements, world_size(), rank, (zero_copy_ ? kPageBytes : kLineBytes) / element_bytes_);
}

Advanced ShmReduction::zero_copy_until(std::chrono::steady_clock::time_point slice_end) {
  const Call& call = request_.call;
  const auto most = static_cast<std::int64_t>(kSliceBytes / element_bytes_);
  while (position_ < slice_.last) {
    const std::int64_t elements = std::min(most, slice_.last - position_);
    inputs_.clear();
    copies_.clear();
    for (int peer = 0; peer < world_size(); ++peer) {
      const Places places = places_of(peer);
      for (int i = 0; i < plan_->partials_of[static_cast<std::size_t>(peer)]; ++i) {
        inputs_.push_back(memory_of(peer, places.inputs[static_cast<std::size_t>(i)]) + bytes_of(position_));
      }
      if (is(Kind::all_reduce) && peer != rank())
        copies_.push_back(memory_of(peer, places.output) + bytes_of(position_));
    }
    std::byte* output = nullptr;
    if (is(Kind::reduce)) {
      output = memory_of(call.root, places_of(call.root).output) + bytes_of(position_);
    } else {
      output = request_.output + bytes_of(is(Kind::reduce_scatter) ? position_ - slice_.first : position_);
    }
    reduce_slice(inputs_, plan_->combines, elements, call.dtype, call.op, call.scale, output, copies_);
    position_ += elements;
    if (position_ < slice_.last && std::chrono::steady_clock::now() >= slice_end) return Advanced::partly;
  }
  return Advanced::fully;
}

}  // namespace lockstep::comm::shm
