// SPDX-License-Identifier: Apache-2.0
#include "mpi_reduction.hpp"

#include <algorithm>

#include "../kernels.hpp"

namespace lockstep::comm::mpi {
namespace {

constexpr std::int64_t kReduceChunk = 1 << 15;  // elements between two looks at the clock

}  // namespace

MpiReduction::MpiReduction(Endpoint& endpoint, const Request& request)
    : MpiCall(endpoint, request),
      plan_(&endpoint.planner.plan_for(request)),
      partials_(request.partials.begin(), request.partials.end()) {
  plan_slices();
  plan_inputs();
}

void MpiReduction::plan_slices() {
  const std::int64_t elements = request_.call.elements;
  const bool small = bytes_of(elements) * static_cast<std::size_t>(plan_->most_partials) <= Header::kInlineBytes;
  results_travel_ = !small && !is(Kind::reduce_scatter);
  if (is(Kind::reduce_scatter)) {
    slices_ = rows_of(request_, world_size());
    return;
  }
  for (int rank = 0; rank < world_size(); ++rank) {
    const Range whole{0, gets_result(rank) ? elements : 0};
    slices_.push_back(small ? whole : even_split(elements, world_size(), rank));
  }
}

// Slice p of our partial sums goes to rank p; slice r of those of others comes into the staging memory, for they must
// not overwrite what we have.
void MpiReduction::plan_inputs() {
  const Range own_slice = slices_[static_cast<std::size_t>(rank())];
  const std::size_t slice_bytes = bytes_of(own_slice.size());
  const bool staged_result = results_travel_ && !gets_result(rank());
  std::size_t foreign = staged_result ? 1 : 0;
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer != rank()) foreign += static_cast<std::size_t>(plan_->partials_of[static_cast<std::size_t>(peer)]);
  }
  staging_ = endpoint_.pool.take(foreign * slice_bytes);
  std::byte* place = staging_.data();
  for (int peer = 0; peer < world_size(); ++peer) {
    const auto p = static_cast<std::size_t>(peer);
    if (peer == rank()) {
      for (const Partial& partial : partials_) inputs_.push_back(partial.data + bytes_of(own_slice.first));
      continue;
    }
    for (int i = 0; i < plan_->partials_of[p]; ++i, place += slice_bytes) {
      inputs_.push_back(place);
      incoming_[p].push_back({place, slice_bytes});
    }
    for (const Partial& partial : partials_)
      outgoing_[p].push_back({partial.data + bytes_of(slices_[p].first), bytes_of(slices_[p].size())});
  }
  result_ = staged_result ? place : request_.output + (is(Kind::reduce_scatter) ? 0 : bytes_of(own_slice.first));
}

void MpiReduction::reduce_until(std::chrono::steady_clock::time_point slice_end) {
  const Call& call = request_.call;
  const std::int64_t size = slices_[static_cast<std::size_t>(rank())].size();
  std::vector<const std::byte*> inputs(inputs_.size());
  while (reduced_ < size) {
    const std::int64_t elements = std::min(kReduceChunk, size - reduced_);
    const std::size_t offset = bytes_of(reduced_);
    for (std::size_t i = 0; i < inputs.size(); ++i) inputs[i] = inputs_[i] + offset;
    reduce_slice(inputs, plan_->combines, elements, call.dtype, call.op, call.scale, result_ + offset);
    reduced_ += elements;
    if (std::chrono::steady_clock::now() >= slice_end) break;
  }
  results_started_ = reduced_ == size;
  if (results_started_) start_results();
}

void MpiReduction::start_results() {
  if (!results_travel_) return;
  const Range own_slice = slices_[static_cast<std::size_t>(rank())];
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer == rank()) continue;
    const Range slice = slices_[static_cast<std::size_t>(peer)];
    if (gets_result(rank()))
      transfers_.receive({request_.output + bytes_of(slice.first), bytes_of(slice.size())}, peer, data_tag());
    if (gets_result(peer)) transfers_.send({result_, bytes_of(own_slice.size())}, peer, data_tag());
  }
}

Advanced MpiReduction::finish_until(std::chrono::steady_clock::time_point slice_end) {
  if (!results_started_) {
    reduce_until(slice_end);
    return results_started_ && transfers_.done() ? Advanced::fully : Advanced::partly;
  }
  return transfers_.done() ? Advanced::fully : Advanced::not_yet;
}

}  // namespace lockstep::comm::mpi
