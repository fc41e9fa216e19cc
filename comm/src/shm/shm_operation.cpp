// SPDX-License-Identifier: Apache-2.0
#include "shm_operation.hpp"

#include <algorithm>
#include <cstring>

#include "../kernels.hpp"
#include "lockstep/base/mix.hpp"

namespace lockstep::comm::shm {
namespace {

constexpr std::size_t kPieceBytes = 64 << 10;  // between two looks at the clock
constexpr std::size_t kLineBytes = 64;         // slices begin at cache lines, so that no two ranks write to one

std::uint32_t fingerprint_of(const Call& call) {
  const auto mix = [](std::uint64_t hash, std::uint64_t value) { return (hash ^ value) * kGoldenGamma; };
  std::uint64_t hash = (static_cast<std::uint64_t>(call.kind) << 24) | (static_cast<std::uint64_t>(call.dtype) << 16) |
                       (static_cast<std::uint64_t>(call.op) << 8) | static_cast<std::uint64_t>(call.order);
  hash = mix(hash, static_cast<std::uint64_t>(static_cast<std::uint32_t>(call.root)));
  hash = mix(hash ^ (hash >> 32), static_cast<std::uint64_t>(call.elements));
  hash = mix(hash ^ (hash >> 32), static_cast<std::uint64_t>(call.leaves));
  std::uint64_t scale = 0;
  std::memcpy(&scale, &call.scale, sizeof scale);
  hash = mix(hash ^ (hash >> 32), scale);
  return static_cast<std::uint32_t>(hash >> 32);
}

}  // namespace

bool ShmOperation::is_reduction() const noexcept {
  return request_.call.kind == Kind::all_reduce || request_.call.kind == Kind::reduce_scatter;
}

void ShmOperation::begin(const Request& request, std::uint64_t index) {
  request_ = request;
  partials_.assign(request.partials.begin(), request.partials.end());
  index_ = index;
  const Call& call = request.call;
  element_bytes_ = size_of(call.dtype);
  payload_bytes_ = call.kind == Kind::barrier ? 0 : bytes_of(call.elements);
  if (is_reduction()) {
    plan_ = &backend_.plan_for(call.leaves);
    payload_bytes_ *= static_cast<std::size_t>(plan_->most_partials);
    if (call.kind == Kind::reduce_scatter) payload_bytes_ *= static_cast<std::size_t>(backend_.world_size());
  }
  fingerprint_ = fingerprint_of(call);
  lines_seen_ = 0;
  phase_ = try_publish() ? Phase::lines : Phase::waiting_for_line;
}

// A line may be written again when every peer is done with the call that was in it.
bool ShmOperation::try_publish() {
  if (index_ >= kLines) {
    const std::uint64_t needed = index_ - kLines + 1;
    for (int peer = 0; peer < backend_.world_size(); ++peer) {
      if (peer == backend_.rank()) continue;
      std::uint64_t& known = backend_.peer_finished_[static_cast<std::size_t>(peer)];
      if (known < needed) known = backend_.of(peer).finished.value.load(std::memory_order_acquire);
      if (known < needed) return false;
    }
    if (backend_.finished_ < needed) return false;
  }
  Line& line = backend_.own().lines[index_ % kLines];
  line.fingerprint = fingerprint_;
  line.done = static_cast<std::uint32_t>(backend_.finished_);
  line.call = request_.call;
  fill_payload(line);
  line.published.store(index_ + 1, std::memory_order_release);
  backend_.group_->wake_peers();
  return true;
}

Places ShmOperation::own_places() const {
  Places places;
  const Arena& arena = backend_.group_->arena();
  const bool scatter = request_.call.kind == Kind::reduce_scatter;
  const std::size_t part = bytes_of(request_.call.elements);
  bool shared = true;
  const auto place = [&](const void* memory, std::size_t bytes) -> std::uint64_t {
    shared = shared && memory != nullptr && arena.contains(memory, bytes);
    return shared ? arena.offset_of(memory) : 0;
  };
  if (is_reduction()) {
    shared = partials_.size() <= places.inputs.size();
    const std::size_t input_bytes = part * static_cast<std::size_t>(scatter ? backend_.world_size() : 1);
    for (std::size_t i = 0; shared && i < partials_.size(); ++i)
      places.inputs[i] = place(partials_[i].data, input_bytes);
    if (!scatter) places.output = place(request_.output, part);
  } else {
    places.inputs[0] = place(request_.input, part);
  }
  places.shared = shared ? 1 : 0;
  places.partials = static_cast<std::uint32_t>(partials_.size());
  return places;
}

void ShmOperation::fill_payload(Line& line) {
  if (payload_bytes_ == 0) return;  // a barrier, or no elements
  if (!is_inline()) {
    const Places places = own_places();
    std::memcpy(line.payload.data(), &places, sizeof places);
  } else if (is_reduction()) {
    const std::size_t bytes = payload_bytes_ / static_cast<std::size_t>(plan_->most_partials);
    std::byte* to = line.payload.data();
    for (const Partial& partial : partials_) {
      std::memcpy(to, partial.data, bytes);
      to += bytes;
    }
  } else if (request_.input != nullptr) {
    std::memcpy(line.payload.data(), request_.input, payload_bytes_);
  }
}

bool ShmOperation::lines_are_there() {
  for (; lines_seen_ < backend_.world_size(); ++lines_seen_) {
    if (lines_seen_ == backend_.rank()) continue;
    const Line& line = line_of(lines_seen_);
    if (line.published.load(std::memory_order_acquire) != index_ + 1) return false;
    if (line.fingerprint != fingerprint_) {
      const int low = std::min(lines_seen_, backend_.rank());
      const int high = std::max(lines_seen_, backend_.rank());
      throw BackendFailure{mismatch(low, low == backend_.rank() ? request_.call : line.call, high,
                                    high == backend_.rank() ? request_.call : line.call)};
    }
    // 32 bits of the count are enough: a peer is never more than kLines calls away.
    std::uint64_t& known = backend_.peer_finished_[static_cast<std::size_t>(lines_seen_)];
    const auto ahead = static_cast<std::int32_t>(line.done - static_cast<std::uint32_t>(known));
    if (ahead > 0) known += static_cast<std::uint64_t>(ahead);
  }
  return true;
}

void ShmOperation::choose_path() {
  if (is_inline()) {
    finish_inline();
    return complete();
  }
  bool shared = own_places().shared != 0;
  for (int peer = 0; shared && peer < backend_.world_size(); ++peer) {
    Places places;
    std::memcpy(&places, line_of(peer).payload.data(), sizeof places);
    shared = places.shared != 0;
  }
  if (!shared) {
    plan_chunks();
    phase_ = Phase::staged;
    return;
  }
  const std::int64_t elements = request_.call.elements;
  slice_ = request_.call.kind == Kind::all_reduce ? slice_of(backend_.rank(), elements) : Range{0, elements};
  position_ = slice_.first;
  phase_ = Phase::zero_copy;
}

// Everything lies in the lines.
void ShmOperation::finish_inline() {
  const Call& call = request_.call;
  if (payload_bytes_ == 0) return;
  if (call.kind == Kind::broadcast) {
    std::memcpy(request_.output, line_of(call.root).payload.data(), payload_bytes_);
  } else if (call.kind == Kind::all_gather) {
    for (int peer = 0; peer < backend_.world_size(); ++peer) {
      std::memcpy(request_.output + static_cast<std::size_t>(peer) * payload_bytes_, line_of(peer).payload.data(),
                  payload_bytes_);
    }
  } else {
    const bool scatter = call.kind == Kind::reduce_scatter;
    const std::size_t stride = payload_bytes_ / static_cast<std::size_t>(plan_->most_partials);
    const std::size_t offset = scatter ? static_cast<std::size_t>(backend_.rank()) * bytes_of(call.elements) : 0;
    inputs_.clear();
    for (int peer = 0; peer < backend_.world_size(); ++peer) {
      const std::byte* data = line_of(peer).payload.data() + offset;
      for (int i = 0; i < plan_->partials_of[static_cast<std::size_t>(peer)]; ++i, data += stride)
        inputs_.push_back(data);
    }
    reduce_slice(inputs_, plan_->combines, call.elements, call.dtype, call.op, call.scale, request_.output);
  }
}

void ShmOperation::complete() {
  phase_ = Phase::done;
  backend_.finished_ = index_ + 1;
  // Peers read it when they want a line of ours that is kLines calls old, or wait for us to leave a zero-copy call.
  backend_.own().finished.value.store(index_ + 1, std::memory_order_release);
}

bool ShmOperation::advance(std::chrono::steady_clock::time_point slice_end) {
  if (phase_ == Phase::waiting_for_line && try_publish()) phase_ = Phase::lines;
  if (phase_ == Phase::lines && backend_.finished_ == index_ && lines_are_there()) choose_path();
  if (phase_ == Phase::zero_copy && zero_copy_until(slice_end)) {
    // Counted as finished before it is: peers wait for exactly this, and our line is not needed any more.
    backend_.own().finished.value.store(index_ + 1, std::memory_order_release);
    backend_.group_->wake_peers();
    phase_ = Phase::leaving;
  }
  if (phase_ == Phase::leaving && peers_have_left()) complete();
  if (phase_ == Phase::staged && staged_until(slice_end)) complete();
  return phase_ == Phase::done;
}

bool ShmOperation::peers_have_left() {
  for (int peer = 0; peer < backend_.world_size(); ++peer) {
    if (peer == backend_.rank()) continue;
    std::uint64_t& known = backend_.peer_finished_[static_cast<std::size_t>(peer)];
    if (known <= index_) known = backend_.of(peer).finished.value.load(std::memory_order_acquire);
    if (known <= index_) return false;
  }
  return true;
}

Range ShmOperation::slice_of(int rank, std::int64_t elements) const {
  const auto unit = static_cast<std::int64_t>(kLineBytes / element_bytes_);
  const Range units = even_split((elements + unit - 1) / unit, backend_.world_size(), rank);
  return {std::min(units.first * unit, elements), std::min(units.last * unit, elements)};
}

bool ShmOperation::zero_copy_until(std::chrono::steady_clock::time_point slice_end) {
  const auto piece = static_cast<std::int64_t>(kPieceBytes / element_bytes_);
  while (position_ < slice_.last) {
    const std::int64_t elements = std::min(piece, slice_.last - position_);
    zero_copy_piece(position_, elements);
    position_ += elements;
    if (position_ < slice_.last && std::chrono::steady_clock::now() >= slice_end) return false;
  }
  return true;
}

void ShmOperation::zero_copy_piece(std::int64_t first, std::int64_t elements) {
  const Call& call = request_.call;
  const auto places_of = [&](int peer) {
    Places places;
    std::memcpy(&places, line_of(peer).payload.data(), sizeof places);
    return places;
  };
  const auto memory = [&](int peer, std::uint64_t offset) {
    return backend_.group_->memory_of(peer, offset) + bytes_of(first);
  };
  const std::size_t bytes = bytes_of(elements);
  if (call.kind == Kind::broadcast) {
    if (backend_.rank() != call.root) {
      std::memcpy(request_.output + bytes_of(first), memory(call.root, places_of(call.root).inputs[0]), bytes);
    }
    return;
  }
  if (call.kind == Kind::all_gather) {
    for (int peer = 0; peer < backend_.world_size(); ++peer) {
      std::memcpy(request_.output + bytes_of(peer * call.elements + first), memory(peer, places_of(peer).inputs[0]),
                  bytes);
    }
    return;
  }
  const bool scatter = call.kind == Kind::reduce_scatter;
  const std::size_t row = scatter ? bytes_of(backend_.rank() * call.elements) : 0;
  inputs_.clear();
  for (int peer = 0; peer < backend_.world_size(); ++peer) {
    const Places places = places_of(peer);
    for (std::uint32_t i = 0; i < places.partials; ++i) inputs_.push_back(memory(peer, places.inputs[i]) + row);
  }
  std::byte* const output = request_.output + bytes_of(first);
  reduce_slice(inputs_, plan_->combines, elements, call.dtype, call.op, call.scale, output);
  if (scatter) return;
  for (int peer = 0; peer < backend_.world_size(); ++peer) {
    if (peer != backend_.rank()) std::memcpy(memory(peer, places_of(peer).output), output, bytes);
  }
}

std::vector<int> ShmOperation::missing() const {
  std::vector<int> ranks;
  for (int peer = 0; peer < backend_.world_size(); ++peer) {
    if (peer == backend_.rank()) continue;
    const bool here = line_of(peer).published.load(std::memory_order_acquire) >= index_ + 1;
    const bool left = backend_.of(peer).finished.value.load(std::memory_order_acquire) > index_;
    if (phase_ == Phase::lines || phase_ == Phase::waiting_for_line ? !here : !left) ranks.push_back(peer);
  }
  return ranks;
}

}  // namespace lockstep::comm::shm
