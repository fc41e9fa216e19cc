// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstring>
#include <new>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm {

// Ordinary memory: for backends that send messages, or reach all memory anyway.
std::shared_ptr<std::byte> Backend::allocate(std::size_t bytes) {
  constexpr std::align_val_t kAlignment{64};
  auto* const memory = static_cast<std::byte*>(::operator new(bytes, kAlignment));
  std::memset(memory, 0, bytes);
  return {memory, [](std::byte* freed) { ::operator delete(freed, kAlignment); }};
}

std::string_view name_of(Kind kind) noexcept {
  switch (kind) {
    case Kind::all_reduce:
      return "all_reduce";
    case Kind::reduce_scatter:
      return "reduce_scatter";
    case Kind::all_gather:
      return "all_gather";
    case Kind::broadcast:
      return "broadcast";
    case Kind::barrier:
      return "barrier";
  }
  return "?";
}

std::string to_string(const Call& call) {
  const std::string head = fmt::format("{} #{}", name_of(call.kind), call.sequence);
  if (call.kind == Kind::barrier) return head;
  std::string detail = fmt::format("{} × {}", call.elements, name_of(call.dtype));
  if (call.kind == Kind::all_reduce || call.kind == Kind::reduce_scatter) {
    detail += fmt::format(", {}", name_of(call.op));
    if (call.order == ReduceOrder::any) detail += ", any order";
    if (call.leaves > 0) detail += fmt::format(", {} leaves", call.leaves);
  }
  if (call.kind == Kind::broadcast) detail += fmt::format(", root {}", call.root);
  return fmt::format("{} ({})", head, detail);
}

Failure mismatch(int rank_a, const Call& call_a, int rank_b, const Call& call_b) {
  return {.kind = FailureKind::mismatch,
          .why = fmt::format("ranks called different collectives: rank {}: {}; rank {}: {}", rank_a, to_string(call_a),
                             rank_b, to_string(call_b)),
          .fix = "all ranks must call the same collectives in the same order, with the same arguments",
          .culprit = rank_b};
}

Failure seen_from_afar(Failure failure, int rank) {
  const bool theirs = failure.kind == FailureKind::aborted || failure.kind == FailureKind::native;
  if (!theirs) return failure;
  return {.kind = FailureKind::peer_died,
          .why = fmt::format("rank {} gave up: {}", rank, failure.why),
          .fix = "see the error of that rank",
          .culprit = rank};
}

Failure peer_died(int rank, const Peer& peer) {
  return {.kind = FailureKind::peer_died,
          .why = fmt::format("rank {} (pid {} on {}) died", rank, peer.pid, peer.host),
          .fix = "look for its own error, the kernel's out-of-memory log, or who sent it a signal",
          .culprit = rank};
}

}  // namespace lockstep::comm
