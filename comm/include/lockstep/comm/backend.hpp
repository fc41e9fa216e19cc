// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/base/dtype.hpp"
#include "lockstep/comm/reduce_op.hpp"
#include "lockstep/comm/tree.hpp"

// The narrow interface below Communicator: pointers, counts and dtypes; no tensors, no checks of arguments, no waiting.
namespace lockstep::comm {

enum class Kind : std::uint8_t {
  all_reduce,
  reduce_scatter,
  reduce,
  broadcast,
  all_gather,
  gather,
  scatter,
  all_to_all,
  barrier,
  send,
  receive,
};

// all_reduce, reduce_scatter, reduce.
[[nodiscard]] constexpr bool is_reduction(Kind kind) noexcept { return kind <= Kind::reduce; }
// send, receive: between two ranks. All other kinds are calls of every rank.
[[nodiscard]] constexpr bool is_between_two(Kind kind) noexcept { return kind >= Kind::send; }

// What all ranks must agree on: the fingerprint that is compared before data is touched. (A send and its receive agree
// on dtype, elements and sequence.)
struct Call {
  Kind kind = Kind::barrier;
  DType dtype = DType::uint8;
  ReduceOp op = ReduceOp::sum;
  ReduceOrder order = ReduceOrder::tree;
  std::int32_t root = -1;  // reduce, broadcast, gather, scatter; of send and receive: the other rank
  // all_reduce, reduce, broadcast, send, receive: of the tensor; others: of one rank's part, or of all parts together
  // where `parts` differ (all_to_all with parts: 0, for its numbers differ from rank to rank)
  std::int64_t elements = 0;
  std::uint64_t parts = 0;     // 0: all parts are equal; else a hash of Request::parts (all_to_all: 1)
  std::int64_t leaves = 0;     // reductions: n of T(n)
  double scale = 1.0;          // reductions: one final factor
  std::uint64_t sequence = 0;  // of this communicator's collective calls; of send and receive: of this pair's messages
  friend bool operator==(const Call&, const Call&) = default;
};

[[nodiscard]] std::string_view name_of(Kind kind) noexcept;
[[nodiscard]] std::string to_string(const Call& call);  // "all_reduce #1412 (26214400 × float32, sum)"

// A call with this rank's memory, which must stay valid until the operation is done (the spans' own memory only until
// start() returns). `input` and `output` do not overlap, except that reductions may write to memory that a partial lies
// in, and a rank's own part in all_gather, a root's in gather and scatter may already be in place. Parts lie one behind
// the other, by rank.
struct Request {
  Call call{};
  bool agree_only = false;  // the call is compared with the peers' and nothing else happens; on all ranks or on none
  // Reductions: those of subtrees_in(leaves that this rank owns, leaves), of which there may be none.
  std::span<const Partial> partials{};
  // Reductions: rank r owns leaves [leaf_bounds[r], leaf_bounds[r + 1]). Empty: even_split(leaves, world_size, r).
  std::span<const std::int64_t> leaf_bounds{};
  // Elements of each rank's part where they differ (reduce_scatter, all_gather, gather, scatter); all_to_all: of what
  // goes to each rank.
  std::span<const std::int64_t> parts{};
  std::span<const std::int64_t> received_parts{};  // all_to_all: of what comes from each rank
  // broadcast, scatter: the root's; gather, all_gather: this rank's part; all_to_all: parts by receiver; send
  const std::byte* input = nullptr;
  // all_reduce, broadcast, receive: whole; reduce, gather: the root's; reduce_scatter, scatter: this rank's part;
  // all_gather, all_to_all: parts by origin
  std::byte* output = nullptr;
  // For backends that watch their calls themselves, because nobody waits for them on the host.
  std::chrono::milliseconds timeout{};
  std::string_view label{};
};

enum class FailureKind { mismatch, timeout, peer_died, aborted, native };

// Why a backend gave up. Communicator adds rank, host and the call, and throws the matching error.
struct Failure {
  FailureKind kind = FailureKind::native;
  std::string why{};
  std::string fix{};
  int culprit = -1;  // the rank at fault, where one is known
};

// The failure of two ranks that called different things, naming both.
[[nodiscard]] Failure mismatch(int rank_a, const Call& call_a, int rank_b, const Call& call_b);

// The failure of an all_to_all in which `from` sends `sent` elements to `to`, which expects `expected`.
[[nodiscard]] Failure unequal_parts(int from, std::int64_t sent, int to, std::int64_t expected, const Call& call);

struct BackendFailure {  // thrown by the functions below
  Failure failure;
};

enum class Advanced : std::uint8_t {
  not_yet,  // waits for a peer
  partly,   // has moved; more may be possible at once
  fully,    // the operation is done
};

// A collective in flight on this rank: a state machine that somebody advances.
class Operation {
 public:
  virtual ~Operation() = default;
  // Gives it back to where it came from: a backend may keep operations for its next calls.
  virtual void release() { delete this; }
  // Does what can be done without waiting, at most until `slice_end`. Not called again once it has returned `fully`.
  // Throws BackendFailure.
  virtual Advanced advance(std::chrono::steady_clock::time_point slice_end) = 0;
  // Of an operation on a GPU's stream: makes what this thread queues next on its current stream come after it, without
  // waiting, and returns true. False: the host has to wait, by advance(). Throws BackendFailure.
  [[nodiscard]] virtual bool join_stream() { return false; }
  // The ranks that this one still waits for, for the message of a timeout.
  [[nodiscard]] virtual std::vector<int> missing() const = 0;
};

struct ReleaseOperation {
  void operator()(Operation* operation) const { operation->release(); }
};
using OperationPtr = std::unique_ptr<Operation, ReleaseOperation>;

struct Peer {
  std::string host;
  std::int64_t pid = 0;
  int node = 0;        // 0 … nodes−1
  int local_rank = 0;  // among the ranks of its node
};

// What the failure of `rank` is to its peers: a mismatch, a missing or a dead rank is everybody's; what else `rank`
// failed of makes it a dead peer.
[[nodiscard]] Failure seen_from_afar(Failure failure, int rank);

// The failure of a rank whose process has ended.
[[nodiscard]] Failure peer_died(int rank, const Peer& peer);

class Backend {
 public:
  virtual ~Backend() = default;
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;  // "local", "shm", "mpi"
  [[nodiscard]] virtual int rank() const noexcept = 0;
  [[nodiscard]] virtual int world_size() const noexcept = 0;
  [[nodiscard]] virtual const std::vector<Peer>& peers() const noexcept = 0;
  // Of the memory that calls take: kHostMemory, or the index of a GPU.
  static constexpr int kHostMemory = -1;
  [[nodiscard]] virtual int memory() const noexcept { return kHostMemory; }
  // Whether calls may come from any thread, one at a time; else (MPI) only from the one that made the first backend.
  [[nodiscard]] virtual bool any_thread() const noexcept { return true; }

  // Local. Publishes the call to the peers and returns.
  [[nodiscard]] virtual OperationPtr start(const Request& request) = 0;
  // Local. Called in a loop while nothing advances, with the time waited so far: pauses for a short while, and throws
  // BackendFailure if a peer is seen to be dead.
  virtual void idle(std::chrono::nanoseconds waited) = 0;
  // Local. Zeroed, 64-byte aligned memory on which collectives copy as little as this backend can.
  [[nodiscard]] virtual std::shared_ptr<std::byte> allocate(std::size_t bytes);
  // Collective. A backend for each set of ranks that give the same `color`, ordered by (key, rank); null on ranks with
  // a negative color.
  [[nodiscard]] virtual std::unique_ptr<Backend> split(int color, int key) = 0;
  // Collective over the ranks that live, after a failure: a backend of those that came and live. By default throws
  // UsageError that says why this backend cannot.
  [[nodiscard]] virtual std::unique_ptr<Backend> shrink(std::chrono::milliseconds timeout);
  // Local. Throws BackendFailure if a call has failed that nobody waits for on the host, as far as is known by now.
  virtual void throw_if_failed() {}
  // Local. Tells the peers, where the backend can, that this rank gives up.
  virtual void fail(const Failure& failure) noexcept = 0;
  // Local. True for the first rank of this host that calls it, so that an error which all ranks meet is printed once.
  [[nodiscard]] virtual bool claim_first_failure() noexcept = 0;
  // Collective. Frees what the backend owns. Not called after a failure.
  virtual void close() = 0;
};

}  // namespace lockstep::comm
