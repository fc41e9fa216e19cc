// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstring>
#include <new>

#include "lockstep/base/error.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::comm {

// Ordinary memory: for backends that send messages, or reach all memory anyway.
std::shared_ptr<std::byte> Backend::allocate(std::size_t bytes) {
  constexpr std::align_val_t kAlignment{64};
  auto* const memory = static_cast<std::byte*>(::operator new(bytes, kAlignment));
  std::memset(memory, 0, bytes);
  return {memory, [](std::byte* freed) { ::operator delete(freed, kAlignment); }};
}

std::unique_ptr<Backend> Backend::shrink(std::chrono::milliseconds) {
  throw UsageError(
      {.what = fmt::format("shrink of a communicator over {}", name()),
       .why = "this backend cannot go on without a rank: MPI before 5 (ULFM) has no communicator of survivors",
       .fix = "start again from the newest checkpoint; with all ranks on one host, comm.backend=shm can shrink"});
}

std::string_view name_of(Kind kind) noexcept {
  constexpr std::string_view kNames[] = {"all_reduce", "reduce_scatter", "reduce",  "broadcast", "all_gather", "gather",
                                         "scatter",    "all_to_all",     "barrier", "send",      "receive"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::string to_string(const Call& call) {
  const std::string head = fmt::format("{} #{}", name_of(call.kind), call.sequence);
  if (call.kind == Kind::barrier) return head;
  std::string detail = fmt::format("{} × {}", call.elements, name_of(call.dtype));
  if (call.parts != 0)
    detail = fmt::format("{} in unequal parts", call.kind == Kind::all_to_all ? name_of(call.dtype) : detail);
  if (is_reduction(call.kind)) {
    detail += fmt::format(", {}", name_of(call.op));
    if (call.order == ReduceOrder::any) detail += ", any order";
    if (call.leaves > 0) detail += fmt::format(", {} leaves", call.leaves);
  }
  if (is_between_two(call.kind)) {
    detail += fmt::format(", {} rank {}", call.kind == Kind::send ? "to" : "from", call.root);
  } else if (call.root >= 0) {
    detail += fmt::format(", root {}", call.root);
  }
  return fmt::format("{} ({})", head, detail);
}

namespace {

// In what two calls differ, the coarsest first.
std::string_view difference(const Call& a, const Call& b) {
  if (a.kind != b.kind) return "different collectives";
  if (a.dtype != b.dtype) return "a collective with different dtypes";
  if (a.elements != b.elements || a.parts != b.parts) return "a collective with different numbers of elements";
  if (a.op != b.op) return "a collective with different operations";
  if (a.root != b.root) return "a collective with different roots";
  return "a collective with different options";
}

}  // namespace

Failure mismatch(int rank_a, const Call& call_a, int rank_b, const Call& call_b) {
  const std::string calls =
      fmt::format("rank {}: {}; rank {}: {}", rank_a, to_string(call_a), rank_b, to_string(call_b));
  if (is_between_two(call_a.kind)) {
    return {.kind = FailureKind::mismatch,
            .why = "a send and its receive differ: " + calls,
            .fix =
                "a receive must have the dtype and the number of elements of its send; the n-th send from one rank "
                "to another meets the n-th receive",
            .culprit = rank_b};
  }
  return {.kind = FailureKind::mismatch,
          .why = fmt::format("ranks called {}: {}", difference(call_a, call_b), calls),
          .fix = call_a.kind != call_b.kind
                     ? "look for a branch that only some ranks take: all must call the same collectives in one order"
                     : "pass the same on every rank",
          .culprit = rank_b};
}

Failure unequal_parts(int from, std::int64_t sent, int to, std::int64_t expected, const Call& call) {
  return {.kind = FailureKind::mismatch,
          .why = fmt::format("rank {} sends {} × {} to rank {}, which expects {}", from, sent, name_of(call.dtype), to,
                             expected),
          .fix = "what a rank sends to another must be what that one receives from it",
          .culprit = from};
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
