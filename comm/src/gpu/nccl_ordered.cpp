// SPDX-License-Identifier: Apache-2.0
#include "nccl_ordered.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "../moves.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::comm::gpu {
namespace {

constexpr std::size_t kAlignment = 16;          // what the kernel loads at once
constexpr std::size_t kWholeBytes = 256 << 10;  // of all partial sums together: latency costs more than moving them

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

OrderedReduction::OrderedReduction(const Request& request, const TreePlan& plan, int rank, int world_size)
    : request_(request), plan_(plan), rank_(rank), world_size_(world_size) {
  const Call& call = request.call;
  const std::size_t inputs = plan.combines.size();
  if (inputs > kMostInputs) {
    throw UsageError(
        {.what = to_string(call),
         .why = fmt::format("{} partial sums are more than the {} that a GPU adds up in one call", inputs, kMostInputs),
         .fix = "reduce over fewer ranks, or give each rank a number of leaves that is a power of two"});
  }
  divide();
  const std::size_t own_bytes = bytes(own_share().size());
  stride_ = aligned(own_bytes);
  if (world_size == 1 && inputs == 1) {
    own_partial_only_ = !overlap(request.partials[0].data, own_bytes, request.output, own_bytes);
    if (own_partial_only_) return;
  }
  if (whole_ && call.kind == Kind::all_reduce && one_partial_a_rank()) stride_ = own_bytes;  // as all_gather leaves it
  result_at_ = aligned(inputs * stride_);
  scratch_bytes_ = own_bytes == 0 ? 0 : result_at_ + (call.kind == Kind::reduce && !whole_ ? aligned(own_bytes) : 0);
}

bool OrderedReduction::one_partial_a_rank() const noexcept {
  return std::all_of(plan_.partials_of.begin(), plan_.partials_of.end(), [](int partials) { return partials == 1; });
}

void OrderedReduction::divide() {
  const Call& call = request_.call;
  if (call.kind == Kind::reduce_scatter) {
    whole_ = true;
    shares_ = rows_of(request_, world_size_);
    return;
  }
  shares_.resize(static_cast<std::size_t>(world_size_));
  const auto unit = static_cast<std::int64_t>(kAlignment / size_of(call.dtype));
  slice_ = call.elements / (world_size_ * unit) * unit;
  whole_ = world_size_ == 1 || slice_ == 0 || plan_.combines.size() * bytes(call.elements) <= kWholeBytes;
  for (int rank = 0; rank < world_size_; ++rank) {
    Range& share = shares_[static_cast<std::size_t>(rank)];
    if (!whole_) {
      share = {rank * slice_, rank + 1 < world_size_ ? (rank + 1) * slice_ : call.elements};
    } else if (call.kind == Kind::all_reduce || rank == call.root) {
      share = {0, call.elements};
    }
  }
}

void OrderedReduction::queue(NcclLane& lane, std::byte* scratch) const {
  if (own_partial_only_) return add_up(lane, request_.partials[0].data, request_.output);
  gather_partials(lane, scratch);
  const bool has_output = request_.call.kind != Kind::reduce || request_.call.root == rank_;
  std::byte* const place = has_output ? request_.output : scratch + result_at_;
  std::byte* const result = !whole_ && has_output ? place + bytes(own_share().first) : place;
  add_up(lane, scratch, result);
  if (!whole_) pass_on(lane, result);
}

void OrderedReduction::gather_partials(NcclLane& lane, std::byte* scratch) const {
  const Call& call = request_.call;
  if (call.elements == 0) return;
  if (world_size_ > 1 && whole_ && call.kind == Kind::all_reduce && one_partial_a_rank()) {
    return lane.settle(
        lane.nccl().all_gather(request_.partials[0].data, scratch, static_cast<std::size_t>(call.elements), call.dtype,
                               lane.comm(), lane.stream()),
        "ncclAllGather");
  }
  std::vector<Transfer> transfers;
  std::size_t at = 0;  // in scratch memory
  for (int peer = 0; peer < world_size_; ++peer) {
    const auto index = static_cast<std::size_t>(peer);
    const Range share = shares_[index];
    for (int i = 0; i < plan_.partials_of[index]; ++i, at += stride_) {
      if (peer == rank_) {
        lane.copy(scratch + at, request_.partials[static_cast<std::size_t>(i)].data + bytes(share.first),
                  bytes(share.size()));
      } else {
        transfers.push_back({Kind::receive, scratch + at, own_share().size(), call.dtype, peer});
      }
    }
    if (peer == rank_) continue;
    for (const Partial& partial : request_.partials) {
      auto* const from = const_cast<std::byte*>(partial.data + bytes(share.first));
      transfers.push_back({Kind::send, from, share.size(), call.dtype, peer});
    }
  }
  lane.exchange(transfers);
}

void OrderedReduction::add_up(NcclLane& lane, const std::byte* first, std::byte* result) const {
  if (own_share().empty()) return;
  const Call& call = request_.call;
  lane.check_cuda(lane.cuda().reduce_slices({.first = first,
                                             .stride_bytes = stride_,
                                             .combines = plan_.combines,
                                             .elements = own_share().size(),
                                             .dtype = call.dtype,
                                             .op = call.op,
                                             .scale = call.scale,
                                             .output = result},
                                            lane.stream()),
                  "ordered sum");
}

// The last share may be longer than the others, by less than what an aligned slice for each rank would take.
void OrderedReduction::pass_on(NcclLane& lane, std::byte* result) const {
  const Call& call = request_.call;
  std::byte* const output = request_.output;
  if (call.kind == Kind::all_reduce) {
    const Range rest{world_size_ * slice_, call.elements};
    return lane.together([&] {
      lane.check_nccl(lane.nccl().all_gather(result, output, static_cast<std::size_t>(slice_), call.dtype, lane.comm(),
                                             lane.stream()),
                      "ncclAllGather");
      if (rest.empty()) return;
      std::byte* const at = output + bytes(rest.first);
      lane.check_nccl(lane.nccl().broadcast(at, at, static_cast<std::size_t>(rest.size()), call.dtype, world_size_ - 1,
                                            lane.comm(), lane.stream()),
                      "ncclBroadcast");
    });
  }
  std::vector<Transfer> transfers;
  if (rank_ != call.root) transfers.push_back({Kind::send, result, own_share().size(), call.dtype, call.root});
  for (int peer = 0; rank_ == call.root && peer < world_size_; ++peer) {
    const Range share = shares_[static_cast<std::size_t>(peer)];
    if (peer != rank_)
      transfers.push_back({Kind::receive, output + bytes(share.first), share.size(), call.dtype, peer});
  }
  lane.exchange(transfers);
}

}  // namespace lockstep::comm::gpu
