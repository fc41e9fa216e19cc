// SPDX-License-Identifier: Apache-2.0
#include "nccl_calls.hpp"

#include <algorithm>

#include "../moves.hpp"

namespace lockstep::comm::gpu {
namespace {

void queue_transfers(NcclLane& lane, const Request& request) {
  const Call& call = request.call;
  const Moves moves = moves_of(request, lane.rank(), lane.world_size());
  std::vector<Transfer> transfers;
  for (int peer = 0; peer < lane.world_size(); ++peer) {
    const auto index = static_cast<std::size_t>(peer);
    const Range outgoing = moves.outgoing[index], incoming = moves.incoming[index];
    if (peer == lane.rank()) {
      if (!incoming.empty()) {
        lane.copy(request.output + bytes_of(incoming.first, call.dtype),
                  request.input + bytes_of(outgoing.first, call.dtype), bytes_of(incoming.size(), call.dtype));
      }
      continue;
    }
    if (!outgoing.empty()) {
      auto* const from = const_cast<std::byte*>(request.input + bytes_of(outgoing.first, call.dtype));
      transfers.push_back({Kind::send, from, outgoing.size(), call.dtype, peer});
    }
    if (!incoming.empty()) {
      std::byte* const to = request.output + bytes_of(incoming.first, call.dtype);
      transfers.push_back({Kind::receive, to, incoming.size(), call.dtype, peer});
    }
  }
  lane.exchange(transfers);
}

bool divides_by_ranks(const Call& call, int world_size) {
  return call.op == ReduceOp::avg && call.scale == 1.0 / world_size;
}

// avg of another scale than 1/n is a sum that is scaled.
ReduceOp op_of_nccl(const Call& call, int world_size) {
  return call.op == ReduceOp::avg && !divides_by_ranks(call, world_size) ? ReduceOp::sum : call.op;
}

}  // namespace

void queue_moves(NcclLane& lane, const Request& request) {
  const Call& call = request.call;
  if (call.elements == 0 && call.parts == 0) return;
  const auto elements = static_cast<std::size_t>(call.elements);
  NcclApi& nccl = lane.nccl();
  if (call.kind == Kind::broadcast && lane.world_size() > 1) {
    const std::byte* const input = lane.rank() == call.root ? request.input : request.output;
    return lane.settle(
        nccl.broadcast(input, request.output, elements, call.dtype, call.root, lane.comm(), lane.stream()),
        "ncclBroadcast");
  }
  if (call.kind == Kind::all_gather && call.parts == 0 && lane.world_size() > 1) {
    return lane.settle(nccl.all_gather(request.input, request.output, elements, call.dtype, lane.comm(), lane.stream()),
                       "ncclAllGather");
  }
  queue_transfers(lane, request);
}

bool NcclReduction::has(const NcclApi& nccl, const Request& request, const TreePlan& plan, int world_size) {
  const Call& call = request.call;
  return call.order == ReduceOrder::any && (call.kind != Kind::reduce_scatter || call.parts == 0) &&
         nccl.reduces(call.dtype, op_of_nccl(call, world_size)) &&
         std::all_of(plan.partials_of.begin(), plan.partials_of.end(), [](int partials) { return partials == 1; });
}

NcclReduction::NcclReduction(const Request& request, int rank, int world_size)
    : request_(request),
      op_(op_of_nccl(request.call, world_size)),
      scale_(divides_by_ranks(request.call, world_size) ? 1.0 : request.call.scale) {
  const Call& call = request.call;
  const bool scatters = call.kind == Kind::reduce_scatter;
  if (call.kind != Kind::reduce || call.root == rank) written_ = call.elements;
  const std::byte* const input = request.partials[0].data;
  const std::size_t input_bytes =
      bytes_of(call.elements, call.dtype) * static_cast<std::size_t>(scatters ? world_size : 1);
  const std::byte* const in_place =
      input + (scatters ? bytes_of(call.elements, call.dtype) * static_cast<std::size_t>(rank) : 0);
  if (request.output != in_place && overlap(input, input_bytes, request.output, bytes_of(written_, call.dtype))) {
    copied_bytes_ = input_bytes;
  }
}

void NcclReduction::queue(NcclLane& lane, std::byte* scratch) const {
  const Call& call = request_.call;
  const auto elements = static_cast<std::size_t>(call.elements);
  if (elements == 0) return;
  const std::byte* input = request_.partials[0].data;
  if (copied_bytes_ > 0) {
    lane.copy(scratch, input, copied_bytes_);
    input = scratch;
  }
  NcclApi& nccl = lane.nccl();
  std::byte* const output = request_.output;
  switch (call.kind) {
    case Kind::reduce:
      lane.settle(nccl.reduce(input, output, elements, call.dtype, op_, call.root, lane.comm(), lane.stream()),
                  "ncclReduce");
      break;
    case Kind::reduce_scatter:
      lane.settle(nccl.reduce_scatter(input, output, elements, call.dtype, op_, lane.comm(), lane.stream()),
                  "ncclReduceScatter");
      break;
    default:
      lane.settle(nccl.all_reduce(input, output, elements, call.dtype, op_, lane.comm(), lane.stream()),
                  "ncclAllReduce");
  }
  if (scale_ == 1.0 || written_ == 0) return;
  const ScaledCopy scaled{output, output, written_, call.dtype, call.dtype};
  lane.check_cuda(lane.cuda().scaled_copy({&scaled, 1}, scale_, false, lane.stream()), "scaled copy");
}

}  // namespace lockstep::comm::gpu
