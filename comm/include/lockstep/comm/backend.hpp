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

enum class Kind : std::uint8_t { all_reduce, reduce_scatter, all_gather, broadcast, barrier };

// What all ranks must agree on: the fingerprint that is compared before data is touched.
struct Call {
  Kind kind = Kind::barrier;
  DType dtype = DType::uint8;
  ReduceOp op = ReduceOp::sum;
  ReduceOrder order = ReduceOrder::tree;
  std::int32_t root = -1;
  std::int64_t elements = 0;  // all_reduce, broadcast: of the tensor; reduce_scatter, all_gather: of one rank's part
  std::int64_t leaves = 0;    // reductions: n of T(n)
  double scale = 1.0;         // reductions: one final factor
  std::uint64_t sequence = 0;
  friend bool operator==(const Call&, const Call&) = default;
};

[[nodiscard]] std::string_view name_of(Kind kind) noexcept;
[[nodiscard]] std::string to_string(const Call& call);  // "all_reduce #1412 (26214400 × float32, sum)"

// A call with this rank's memory, which must stay valid until the operation is done (the list of partials itself only
// until start() returns).
struct Request {
  Call call{};
  std::span<const Partial>
      partials{};                    // reductions: those of subtrees_in(even_split(leaves, world_size, rank), leaves)
  const std::byte* input = nullptr;  // all_gather: `elements`; broadcast on the root: `elements`
  std::byte* output = nullptr;       // reductions may name memory that a partial lies in
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

struct BackendFailure {  // thrown by the functions below
  Failure failure;
};

// A collective in flight on this rank: a state machine that somebody advances.
class Operation {
 public:
  virtual ~Operation() = default;
  // Gives it back to where it came from: a backend may keep operations for its next calls.
  virtual void release() { delete this; }
  // Does what can be done without waiting, at most until `slice_end`, and returns whether all is done. Throws
  // BackendFailure.
  virtual bool advance(std::chrono::steady_clock::time_point slice_end) = 0;
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

// What the failure of `rank` is to its peers: a mismatch, a missing or a dead rank is everybody's; what else `rank` failed
// of makes it a dead peer.
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

  // Local. Publishes the call to the peers and returns.
  [[nodiscard]] virtual OperationPtr start(const Request& request) = 0;
  // Local. Called in a loop while nothing advances, with the time waited so far: pauses for a short while, and throws
  // BackendFailure if a peer is seen to be dead.
  virtual void idle(std::chrono::nanoseconds waited) = 0;
  // Local. Zeroed, 64-byte aligned memory on which collectives copy as little as this backend can.
  [[nodiscard]] virtual std::shared_ptr<std::byte> allocate(std::size_t bytes);
  // Collective.
  [[nodiscard]] virtual std::unique_ptr<Backend> duplicate() = 0;
  // Local. Tells the peers, where the backend can, that this rank gives up.
  virtual void fail(const Failure& failure) noexcept = 0;
  // Local. True for the first rank of this host that calls it, so that an error which all ranks meet is printed once.
  [[nodiscard]] virtual bool claim_first_failure() noexcept = 0;
  // Collective. Frees what the backend owns. Not called after a failure.
  virtual void close() = 0;
};

}  // namespace lockstep::comm
