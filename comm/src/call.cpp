// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "lockstep/comm/backend.hpp"

namespace lockstep::comm {

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

Failure peer_died(int rank, const Peer& peer) {
  return {.kind = FailureKind::peer_died,
          .why = fmt::format("rank {} (pid {} on {}) died", rank, peer.pid, peer.host),
          .fix = "look for its own error, the kernel's out-of-memory log, or who sent it a signal",
          .culprit = rank};
}

}  // namespace lockstep::comm
