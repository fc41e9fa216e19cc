// SPDX-License-Identifier: Apache-2.0
#include "fake_nccl.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "fake_comm.hpp"
#include "fake_cuda.hpp"

namespace lockstep::test {

using comm::Kind;
using comm::gpu::NcclComm;
using comm::gpu::NcclStatus;
using comm::gpu::Stream;

struct FakeNccl::Group {
  struct Queued {
    FakeComm* comm;
    FakeStream* stream;
    FakeOp op;
  };
  int depth = 0;
  std::vector<Queued> queued{};
};

namespace {

// On the stream's thread.
void meet(FakeComm& comm, Clique& clique, const StreamControl& control, const std::vector<FakeOp>& ops,
          const std::vector<Clique::Key>& keys, int rank) {
  std::vector<std::shared_ptr<Meeting>> meetings;
  for (std::size_t i = 0; i < ops.size() && !comm.released; ++i) {
    if (ops[i].elements == 0 && !comm::is_between_two(ops[i].kind)) continue;  // NCCL does nothing then
    meetings.push_back(clique.meeting(keys[i]));
    const int place = comm::is_between_two(ops[i].kind) ? (ops[i].kind == Kind::receive ? 1 : 0) : rank;
    meetings.back()->arrive(place, ops[i]);
  }
  wait_until([&] {
    return comm.released || control.stopping || std::ranges::all_of(meetings, [](const auto& m) { return m->done(); });
  });
  for (const auto& meeting : meetings) meeting->withdraw();
  --comm.running;
}

}  // namespace

FakeNccl::FakeNccl(FakeNetwork& network, std::function<std::string()> uuid)
    : network_(network), uuid_(std::move(uuid)) {}
FakeNccl::~FakeNccl() { stop(); }

void FakeNccl::stop() {
  stopping_ = true;
  wait_until([&] { return hanging_ == 0; });
}

FakeNccl::Group& FakeNccl::group() {
  thread_local Group group;
  return group;
}

NcclStatus FakeNccl::usable(FakeComm& comm) const {
  if (comm.gone) return NcclStatus::invalid_argument;
  if (comm.error != NcclStatus::success) return comm.error;
  if (comm.job) {
    comm.last_error = "Attempt to use communicator before the previous operation returned ncclSuccess";
    return NcclStatus::invalid_argument;
  }
  return NcclStatus::success;
}

void FakeNccl::note(const char* call, const FakeComm& comm) {
  calls_.push_back(fmt::format("{} {}", call, comm.number));
}

NcclStatus FakeNccl::launch(FakeComm& comm, FakeStream& stream, std::vector<FakeOp> ops) {
  auto queue = [&comm, &stream, ops = std::move(ops), clique = comm.clique, rank = comm.rank] {
    stream.queue([&comm, &stream, ops, clique, rank] {
      std::vector<Clique::Key> keys;
      const std::lock_guard lock(comm.sequences);
      for (const FakeOp& op : ops) {
        std::pair pair(-1, -1);
        if (op.kind == Kind::send) pair = {rank, op.peer};
        if (op.kind == Kind::receive) pair = {op.peer, rank};
        const bool sends_to_itself = op.kind == Kind::receive && op.peer == rank;
        auto& next = sends_to_itself ? comm.next[{-2, -2}] : comm.next[pair];
        keys.emplace_back(pair.first, pair.second, next++);
      }
      ++comm.running;
      return [&comm, &stream, ops, clique, rank, keys] { meet(comm, *clique, stream.control(), ops, keys, rank); };
    });
    return NcclStatus::success;
  };
  if (++comm.launches % 3 != 0) return queue();
  comm.job = later(queue);
  return NcclStatus::in_progress;
}

NcclStatus FakeNccl::group_start() {
  const std::lock_guard lock(mutex_);
  calls_.emplace_back("group_start");
  ++group().depth;
  return NcclStatus::success;
}

NcclStatus FakeNccl::group_end() {
  const std::lock_guard lock(mutex_);
  calls_.emplace_back("group_end");
  if (group().depth == 0) return NcclStatus::invalid_usage;
  if (--group().depth > 0) return NcclStatus::success;
  auto queued = std::exchange(group().queued, {});
  NcclStatus result = NcclStatus::success;
  while (!queued.empty()) {  // one launch for each communicator and stream
    FakeComm& comm = *queued.front().comm;
    FakeStream& stream = *queued.front().stream;
    if (const NcclStatus status = usable(comm); status != NcclStatus::success) return status;
    std::vector<FakeOp> ops;
    std::erase_if(queued, [&](const Group::Queued& other) {
      const bool same = other.comm == &comm && other.stream == &stream;
      if (same) ops.push_back(other.op);
      return same;
    });
    const NcclStatus status = launch(comm, stream, std::move(ops));
    if (status != NcclStatus::success) result = status;
  }
  return result;
}

NcclStatus FakeNccl::queue(const char* call, const FakeOp& op, NcclComm comm, Stream stream) {
  const std::lock_guard lock(mutex_);
  FakeComm& used = fake(comm);
  note(call, used);
  if (const NcclStatus status = usable(used); status != NcclStatus::success) return status;
  if (used.revoked) return NcclStatus::invalid_usage;
  const bool rooted = comm::is_between_two(op.kind) || op.kind == Kind::reduce || op.kind == Kind::broadcast;
  if (rooted && (op.peer < 0 || op.peer >= used.clique->size)) return NcclStatus::invalid_argument;
  if (comm::is_reduction(op.kind) && !reduces(op.dtype, op.op)) return NcclStatus::invalid_argument;
  if (group().depth > 0) {
    group().queued.push_back({&used, &test::fake(stream), op});
    return NcclStatus::success;
  }
  return launch(used, test::fake(stream), {op});
}

NcclStatus FakeNccl::all_reduce(const void* input, void* output, std::size_t elements, DType dtype, ReduceOp op,
                                NcclComm comm, Stream stream) {
  return queue("all_reduce", {Kind::all_reduce, input, output, elements, dtype, op, -1}, comm, stream);
}

NcclStatus FakeNccl::reduce(const void* input, void* output, std::size_t elements, DType dtype, ReduceOp op, int root,
                            NcclComm comm, Stream stream) {
  return queue("reduce", {Kind::reduce, input, output, elements, dtype, op, root}, comm, stream);
}

NcclStatus FakeNccl::reduce_scatter(const void* input, void* output, std::size_t elements, DType dtype, ReduceOp op,
                                    NcclComm comm, Stream stream) {
  return queue("reduce_scatter", {Kind::reduce_scatter, input, output, elements, dtype, op, -1}, comm, stream);
}

NcclStatus FakeNccl::broadcast(const void* input, void* output, std::size_t elements, DType dtype, int root,
                               NcclComm comm, Stream stream) {
  return queue("broadcast", {Kind::broadcast, input, output, elements, dtype, ReduceOp::sum, root}, comm, stream);
}

NcclStatus FakeNccl::all_gather(const void* input, void* output, std::size_t elements, DType dtype, NcclComm comm,
                                Stream stream) {
  return queue("all_gather", {Kind::all_gather, input, output, elements, dtype, ReduceOp::sum, -1}, comm, stream);
}

NcclStatus FakeNccl::send(const void* input, std::size_t elements, DType dtype, int to, NcclComm comm, Stream stream) {
  return queue("send", {Kind::send, input, nullptr, elements, dtype, ReduceOp::sum, to}, comm, stream);
}

NcclStatus FakeNccl::receive(void* output, std::size_t elements, DType dtype, int from, NcclComm comm, Stream stream) {
  return queue("receive", {Kind::receive, nullptr, output, elements, dtype, ReduceOp::sum, from}, comm, stream);
}

std::string FakeNccl::text(NcclStatus status) const {
  static constexpr const char* kTexts[] = {"ncclSuccess: no error",
                                           "ncclUnhandledCudaError: unhandled cuda error",
                                           "ncclSystemError: unhandled system error",
                                           "ncclInternalError: internal error",
                                           "ncclInvalidArgument: invalid argument",
                                           "ncclInvalidUsage: invalid usage",
                                           "ncclRemoteError: remote process exited or there was a network error",
                                           "ncclInProgress: NCCL operation in progress"};
  return kTexts[static_cast<int>(status)];
}

std::string FakeNccl::last_error(NcclComm comm) const {
  const std::lock_guard lock(mutex_);
  return comm == nullptr || fake(comm).last_error.empty() ? last_error_ : fake(comm).last_error;
}

bool FakeNccl::reduces(DType dtype, ReduceOp op) const {
  const bool bits = op == ReduceOp::bit_and || op == ReduceOp::bit_or || op == ReduceOp::bit_xor;
  return !bits && dtype != DType::int16 && dtype != DType::boolean;
}

void FakeNccl::fail_next_init(NcclStatus status) {
  const std::lock_guard lock(mutex_);
  next_init_failure_ = status;
}

void FakeNccl::set_async_error(NcclStatus status) {
  const std::lock_guard lock(mutex_);
  for (const auto& comm : comms_) comm->error = status;
}

void FakeNccl::set_last_error(const std::string& text) {
  const std::lock_guard lock(mutex_);
  last_error_ = text;
}

std::vector<std::string> FakeNccl::calls() const {
  const std::lock_guard lock(mutex_);
  return calls_;
}

}  // namespace lockstep::test
