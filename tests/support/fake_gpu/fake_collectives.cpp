// SPDX-License-Identifier: Apache-2.0
#include "fake_collectives.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "fake_memory.hpp"
#include "kernels.hpp"

namespace lockstep::test {

using comm::Kind;
using comm::gpu::NcclStatus;

namespace {

bool fit_together(const std::vector<FakeOp>& ops) {
  const FakeOp& first = ops.front();
  return std::ranges::all_of(ops, [&](const FakeOp& op) {
    if (op.elements != first.elements || op.dtype != first.dtype) return false;
    if (comm::is_between_two(first.kind)) return true;
    return op.kind == first.kind && op.peer == first.peer && (!comm::is_reduction(op.kind) || op.op == first.op);
  });
}

std::byte* bytes(void* memory) { return static_cast<std::byte*>(memory); }
const std::byte* bytes(const void* memory) { return static_cast<const std::byte*>(memory); }

// Adds up from the last rank to the first: not what the tree does from three ranks on.
void reduce(const std::vector<FakeOp>& ops, std::size_t offset, const std::vector<std::byte*>& outputs) {
  const FakeOp& call = ops.front();
  std::vector<const std::byte*> inputs;
  for (auto op = ops.rbegin(); op != ops.rend(); ++op) inputs.push_back(bytes(op->input) + offset);
  std::vector<int> combines(ops.size(), 1);
  combines.front() = 0;
  const bool mean = call.op == ReduceOp::avg;
  comm::reduce_slice(inputs, combines, static_cast<std::int64_t>(call.elements), call.dtype,
                     mean ? ReduceOp::sum : call.op, mean ? 1.0 / static_cast<double>(ops.size()) : 1.0,
                     outputs.front(), std::span(outputs).subspan(1));
}

void move_data(const std::vector<FakeOp>& ops) {
  const FakeOp& call = ops.front();
  const std::size_t size = call.elements * size_of(call.dtype);
  const auto root = static_cast<std::size_t>(call.peer);
  std::vector<std::byte*> outputs;
  for (const FakeOp& op : ops) outputs.push_back(bytes(op.output));
  switch (call.kind) {
    case Kind::all_reduce:
      return reduce(ops, 0, outputs);
    case Kind::reduce:
      return reduce(ops, 0, {outputs[root]});
    case Kind::reduce_scatter:
      for (std::size_t rank = 0; rank < ops.size(); ++rank) reduce(ops, rank * size, {outputs[rank]});
      return;
    case Kind::broadcast:
      for (std::byte* output : outputs) copy_bytes(output, ops[root].input, size);
      return;
    case Kind::all_gather:
      for (std::byte* output : outputs) {
        for (std::size_t rank = 0; rank < ops.size(); ++rank) {
          copy_bytes(output + rank * size, ops[rank].input, size);
        }
      }
      return;
    case Kind::send:  // the sender's place is the first
      copy_bytes(ops[1].output, call.input, size);
      return;
    case Kind::receive:
    case Kind::gather:
    case Kind::scatter:
    case Kind::all_to_all:
    case Kind::barrier:
      return;
  }
}

}  // namespace

void Meeting::arrive(int place, const FakeOp& op) {
  const std::lock_guard lock(mutex_);
  ops_[static_cast<std::size_t>(place)] = op;
  if (++arrived_ < ops_.size() || withdrawn_ || !fit_together(ops_)) return;
  if (ops_.front().elements > 0) move_data(ops_);
  done_.store(true, std::memory_order_release);
}

void Meeting::withdraw() {
  const std::lock_guard lock(mutex_);
  withdrawn_ = true;
}

std::shared_ptr<Meeting> Clique::meeting(const Key& key) {
  const std::lock_guard lock(mutex_);
  const bool message = std::get<0>(key) >= 0;
  Pending& pending = meetings_[key];
  if (!pending.meeting) pending = {std::make_shared<Meeting>(message ? 2 : size), message ? 2 : size};
  const auto meeting = pending.meeting;
  if (--pending.missing == 0) meetings_.erase(key);
  return meeting;
}

void Gathering::arrive(const Ticket& ticket) {
  const std::lock_guard lock(mutex_);
  tickets_.push_back(ticket);
  if (tickets_.size() == ranks_) seat_all();
}

void Gathering::seat_all() {
  std::ranges::sort(tickets_, {}, [](const Ticket& t) { return std::tuple(t.color, t.key, t.rank); });
  for (std::size_t first = 0; first < tickets_.size();) {
    std::size_t end = first;
    while (end < tickets_.size() && tickets_[end].color == tickets_[first].color) ++end;
    const auto clique =
        tickets_[first].color < 0 ? nullptr : std::make_shared<Clique>(next_id_++, static_cast<int>(end - first));
    for (std::size_t i = first; i < end; ++i) {
      places_[tickets_[i].rank] = {.clique = clique, .rank = static_cast<int>(i - first)};
    }
    first = end;
  }
  for (const Ticket& a : tickets_) {
    for (const Ticket& b : tickets_) {
      if (a.rank == b.rank || a.uuid.empty() || a.uuid != b.uuid) continue;
      places_[a.rank].status = NcclStatus::invalid_usage;
      places_[a.rank].error =
          fmt::format("Duplicate GPU detected : rank {} and rank {} both on CUDA device 0", a.rank, b.rank);
    }
  }
}

std::optional<Gathering::Place> Gathering::place(int rank) {
  const std::lock_guard lock(mutex_);
  if (tickets_.size() < ranks_) return std::nullopt;
  return places_.at(rank);
}

}  // namespace lockstep::test
