// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/base/dtype.hpp"
#include "lockstep/comm/reduce_op.hpp"
#include "lockstep/comm/tree.hpp"
#include "lockstep/comm/work.hpp"

namespace at {
class Tensor;
}

namespace lockstep {

class Gpu;
enum class GpuTransport;

namespace comm {
class Backend;
struct Peer;
}  // namespace comm

struct CollectiveOptions {
  // Counted from the call on this rank; TimeoutError names who is missing. Default: the communicator's.
  std::optional<std::chrono::milliseconds> timeout{};
  ReduceOrder order = ReduceOrder::tree;
  // Reductions: the result is multiplied by it, once, before it is rounded. Floats only.
  double scale = 1.0;
  // Names the data in errors: "gradients of conv1.weight". Borrowed until the work is done.
  std::string_view label{};
};

// Plain memory for programs without tensors: `elements` values of `dtype`, contiguous.
struct Buffer {
  void* data = nullptr;
  std::int64_t elements = 0;
  DType dtype = DType::float32;
};

// The sum of this rank's leaves of T(leaves), as Communicator::reduce_partials takes it.
struct PartialSums {
  std::span<const Partial> partials;  // those of subtrees_in(even_split(leaves, world_size, rank), leaves), in order
  std::int64_t leaves = 1;            // n of T(n)
  double scale = 1.0;                 // the result is multiplied by it once, then rounded once
};

// Told when this rank is about to wait for its peers and when it goes on: ranks that are threads of one process take
// turns this way.
class WaitObserver {
 public:
  virtual ~WaitObserver() = default;
  virtual void before_wait() = 0;
  virtual void after_wait() = 0;
};

// A fixed group of ranks that call the same collectives in the same order, from one thread each. Every call carries a
// fingerprint (kind, dtype, elements, op, root, sequence number); if ranks disagree on it, all of them throw
// MismatchError naming both calls, before data is touched. After a failure every later call throws the first error
// again. Not thread-safe: give each thread its own by duplicate().
class Communicator {
 public:
  Communicator(std::unique_ptr<comm::Backend> backend, std::string name, std::chrono::milliseconds timeout);
  Communicator(Communicator&&) noexcept;
  Communicator& operator=(Communicator&&) noexcept;
  ~Communicator();  // local; waits for nothing and frees nothing that peers use: see close()

  [[nodiscard]] int rank() const noexcept;  // 0 … world_size()−1, ordered by node, then local rank
  [[nodiscard]] int world_size() const noexcept;
  [[nodiscard]] std::string_view name() const noexcept;  // as in error messages: "world"
  [[nodiscard]] std::string_view backend_name() const noexcept;
  [[nodiscard]] comm::Backend& backend() noexcept;                      // for benches; not while work is in flight
  [[nodiscard]] const std::vector<comm::Peer>& peers() const noexcept;  // by rank
  [[nodiscard]] std::string who() const;                                // "rank 3/8 n07", as in error messages

  // Reductions. fp16 and bf16 are summed in fp32 and rounded once. Throw UsageError for (op, dtype) without meaning.
  // Tensors are dense, where this communicator's memory is (on the CPU; of gpu_communicator(): on this rank's GPU), and
  // have the same shape, strides and dtype on every rank. The same holds for `Buffer`.

  // Collective. Replaces `tensor` on every rank by the reduction over all ranks.
  Work all_reduce(at::Tensor& tensor, ReduceOp op = ReduceOp::sum, const CollectiveOptions& options = {});
  Work all_reduce(Buffer buffer, ReduceOp op = ReduceOp::sum, const CollectiveOptions& options = {});
  // The same out of place: `input` keeps its values. Not overlapping.
  Work all_reduce(at::Tensor& output, const at::Tensor& input, ReduceOp op = ReduceOp::sum,
                  const CollectiveOptions& options = {});
  Work all_reduce(Buffer output, const void* input, ReduceOp op = ReduceOp::sum, const CollectiveOptions& options = {});

  // Collective. The reduction over all ranks replaces `tensor` on `root`; other ranks keep theirs.
  Work reduce(at::Tensor& tensor, int root, ReduceOp op = ReduceOp::sum, const CollectiveOptions& options = {});
  // Out of place: `output` counts on root alone, its `data` may be null elsewhere.
  Work reduce(Buffer output, const void* input, int root, ReduceOp op = ReduceOp::sum,
              const CollectiveOptions& options = {});

  // Collective. The sum in the order of T(leaves) of what all ranks contribute, into `result` on every rank. `result`
  // may be the memory of one of the partials. float32 or float64.
  Work reduce_partials(Buffer result, const PartialSums& sums, const CollectiveOptions& options = {});

  // Collective. `input` is [world_size, *output.shape]; `output` on rank r is the reduction of all ranks' input[r].
  Work reduce_scatter(at::Tensor& output, const at::Tensor& input, ReduceOp op = ReduceOp::sum,
                      const CollectiveOptions& options = {});
  Work reduce_scatter(Buffer output, const void* input, ReduceOp op = ReduceOp::sum,
                      const CollectiveOptions& options = {});

  // Moves. Every `input` and `output` are contiguous and do not overlap. On root, `gather`'s output and `scatter`'s
  // input are [world_size, *shape of the other]; elsewhere they are not looked at (an undefined tensor, a null
  // pointer).

  // Collective. Copies root's `tensor` to every rank, in place; same shape, strides and dtype everywhere, dense.
  Work broadcast(at::Tensor& tensor, int root, const CollectiveOptions& options = {});
  Work broadcast(Buffer buffer, int root, const CollectiveOptions& options = {});

  // Collective. `output` is [world_size, *input.shape]; row r is rank r's `input`.
  Work all_gather(at::Tensor& output, const at::Tensor& input, const CollectiveOptions& options = {});
  Work all_gather(void* output, Buffer input, const CollectiveOptions& options = {});

  // Collective. Row r of root's `output` is rank r's `input`.
  Work gather(at::Tensor& output, const at::Tensor& input, int root, const CollectiveOptions& options = {});
  Work gather(void* output, Buffer input, int root, const CollectiveOptions& options = {});

  // Collective. `output` on rank r is row r of root's `input`.
  Work scatter(at::Tensor& output, const at::Tensor& input, int root, const CollectiveOptions& options = {});
  Work scatter(Buffer output, const void* input, int root, const CollectiveOptions& options = {});

  // Collective. Both are [world_size, …]; row p of rank r's `output` is row r of rank p's `input`.
  Work all_to_all(at::Tensor& output, const at::Tensor& input, const CollectiveOptions& options = {});
  Work all_to_all(void* output, Buffer input, const CollectiveOptions& options = {});

  // The same with parts of different sizes, in elements by rank; parts lie one behind the other. The same sizes on
  // every rank, except all_to_all: what rank r sends to p is what p receives from r, else MismatchError.
  Work reduce_scatter(Buffer output, const void* input, std::span<const std::int64_t> parts,
                      ReduceOp op = ReduceOp::sum, const CollectiveOptions& options = {});
  Work all_gather(void* output, Buffer input, std::span<const std::int64_t> parts,
                  const CollectiveOptions& options = {});
  Work gather(void* output, Buffer input, std::span<const std::int64_t> parts, int root,
              const CollectiveOptions& options = {});
  Work scatter(Buffer output, const void* input, std::span<const std::int64_t> parts, int root,
               const CollectiveOptions& options = {});
  Work all_to_all(void* output, std::span<const std::int64_t> received_parts, const void* input,
                  std::span<const std::int64_t> sent_parts, DType dtype, const CollectiveOptions& options = {});

  // Between two ranks, which agree on dtype and number of elements, else both throw MismatchError. The n-th send from a
  // to b meets the n-th receive on b from a. Neither is done before the other has been called, except that small
  // messages are kept for the receiver.
  Work send(const at::Tensor& tensor, int to, const CollectiveOptions& options = {});
  Work send(Buffer buffer, int to, const CollectiveOptions& options = {});
  Work receive(at::Tensor& tensor, int from, const CollectiveOptions& options = {});
  Work receive(Buffer buffer, int from, const CollectiveOptions& options = {});

  // Collective. Root's text on every rank. Waits.
  [[nodiscard]] std::string broadcast(std::string_view text, int root, const CollectiveOptions& options = {});

  // Collective. Returns when every rank has called it.
  void barrier(const CollectiveOptions& options = {});

  // Collective. Another communicator of the same ranks, whose calls do not interleave with this one's.
  [[nodiscard]] Communicator duplicate(std::string name);

  // Collective. A communicator for each set of ranks that give the same color, ranks ordered by (key, rank); none for a
  // rank without color.
  [[nodiscard]] std::optional<Communicator> split(std::optional<int> color, int key, std::string name);

  // Collective over the survivors, after this communicator has failed (a rank died): they agree who is left and go on
  // as a smaller communicator, in the old order. A rank that does not come within the timeout is left out. Throws
  // UsageError where the backend cannot (mpi).
  [[nodiscard]] Communicator shrink(std::string name);

  // Local. Zeroed, 64-byte aligned memory (of a GPU communicator: of the GPU) on which collectives of this communicator
  // and those made from it copy as little as the backend can: gradient buckets lie in it. Throws IoError with the bytes
  // needed and available.
  [[nodiscard]] std::shared_ptr<std::byte> allocate(std::size_t bytes);

  // Local. Advances all work in flight on this rank (on this communicator and its duplicates) for at most 50 µs.
  void progress();

  // Local. The observer of this communicator and of its duplicates, those made before included; null: none. Borrowed.
  void observe_waits(WaitObserver* observer);

  // Local. Throws the first error, also that of a call on a GPU whose Work has been waited for: it was found later.
  void check();
  // Local. True once this communicator has failed; later calls throw its first error.
  [[nodiscard]] bool failed() const noexcept;
  // Local. Fails this communicator and tells the peers where the backend can.
  void abort(const std::string& why) noexcept;
  // Local. True for the first rank of this host that calls it, so that an error which all ranks meet is printed once.
  [[nodiscard]] bool claim_first_failure() noexcept;

  // Collective. Waits for the work in flight and frees what the backend owns. Close duplicates first. No destructor
  // does this, because no destructor runs a collective.
  void close();

 private:
  class Impl;
  explicit Communicator(std::unique_ptr<Impl> impl) noexcept;
  // `branch`: which of those made from this one, alike on all of its ranks.
  [[nodiscard]] Communicator made_from_this(std::unique_ptr<comm::Backend> backend, std::string name,
                                            std::string_view branch) const;
  // Collective. What `make(backend)`, which is collective, makes of this one's backend; `subject` is what fails if it
  // does.
  template <class Make>
  [[nodiscard]] std::unique_ptr<comm::Backend> make_backend(std::string subject, const Make& make);
  friend Communicator gpu_communicator(Communicator& world, const Gpu& gpu, std::string name, GpuTransport transport);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
