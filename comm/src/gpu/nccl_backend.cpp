// SPDX-License-Identifier: Apache-2.0
#include "nccl_backend.hpp"

#include <algorithm>
#include <thread>
#include <utility>

#include "lockstep/base/error.hpp"
#include "native_error.hpp"
#include "nccl_calls.hpp"
#include "nccl_group.hpp"
#include "nccl_messages.hpp"
#include "nccl_operation.hpp"
#include "nccl_ordered.hpp"
#include "nccl_scratch.hpp"

namespace lockstep::comm::gpu {
namespace {

constexpr auto kIdlePause = std::chrono::microseconds(50);

// Collective over `host`.
std::shared_ptr<WatchedComm> watched(Device& device, Backend& host, NcclComm comm) {
  auto made = std::make_shared<WatchedComm>(
      device.libraries(), comm, std::make_unique<Pulse>(host.split(0, host.rank())), host.any_thread(), "nccl");
  device.watchdog().watch(made);
  return made;
}

class NcclBackend final : public Backend {
 public:
  // Collective. Takes `comm` over.
  NcclBackend(std::shared_ptr<Device> device, HostCalls host, NcclComm comm)
      : NcclBackend(device, std::move(host), watched(*device, host.backend(), comm)) {}
  NcclBackend(const NcclBackend&) = delete;
  NcclBackend& operator=(const NcclBackend&) = delete;
  // Waits for nothing. Without close() or a failure NCCL's communicator stays, for peers may still use its memory; and
  // so does what calls in flight work in, for freeing it would wait for them.
  ~NcclBackend() override {
    if (watched_->revoked()) abandon_nccl_comm(lane_->nccl(), watched_->comm());
    if (!lane_->is_idle()) static_cast<void>(new std::pair(std::move(scratch_), std::move(cell_)));
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "nccl"; }
  [[nodiscard]] int rank() const noexcept override { return host_.backend().rank(); }
  [[nodiscard]] int world_size() const noexcept override { return host_.backend().world_size(); }
  [[nodiscard]] const std::vector<Peer>& peers() const noexcept override { return host_.backend().peers(); }
  [[nodiscard]] int memory() const noexcept override { return device_->memory(); }
  [[nodiscard]] std::shared_ptr<std::byte> allocate(std::size_t bytes) override { return device_->allocate(bytes); }

  [[nodiscard]] OperationPtr start(const Request& request) override;
  void idle(std::chrono::nanoseconds) override {
    lane_->watched().throw_if_failed();
    lane_->listen();
    std::this_thread::sleep_for(kIdlePause);
  }
  [[nodiscard]] std::unique_ptr<Backend> split(int color, int key) override;
  [[nodiscard]] std::unique_ptr<Backend> shrink(std::chrono::milliseconds timeout) override;
  void throw_if_failed() override {
    static_cast<void>(watched_->done(lane_->number()));
    watched_->throw_if_failed();
  }
  void fail(const Failure& failure) noexcept override { lane_->watched().fail(failure); }
  [[nodiscard]] bool claim_first_failure() noexcept override { return host_.backend().claim_first_failure(); }
  void close() override;

 private:
  NcclBackend(std::shared_ptr<Device> device, HostCalls host, std::shared_ptr<WatchedComm> watched)
      : device_(std::move(device)),
        host_(std::move(host)),
        watched_(std::move(watched)),
        cell_(device_->allocate(sizeof(std::int32_t))),
        planner_(world_size()),
        lane_(std::make_unique<NcclLane>(device_, watched_, !host_.backend().any_thread(), host_.backend())),
        messages_(*lane_),
        scratch_(*device_) {}

  // Queue a collective, and return what it works in.
  [[nodiscard]] std::shared_ptr<std::byte> queue(const Request& request, bool capturing);
  [[nodiscard]] std::shared_ptr<std::byte> queue_reduction(const Request& request, bool capturing);
  void queue_barrier();
  [[nodiscard]] bool all_revoked(HostCalls& survivors, std::vector<int>& excluded) const;

  std::shared_ptr<Device> device_;
  HostCalls host_;
  std::shared_ptr<WatchedComm> watched_;
  std::shared_ptr<std::byte> cell_;  // what barriers add up
  TreePlanner planner_;
  std::unique_ptr<NcclLane> lane_;
  NcclMessages messages_;
  NcclScratch scratch_;
};

OperationPtr NcclBackend::start(const Request& given) {
  const auto entered = watched_->enter();
  Request request = given;
  if (request.timeout.count() == 0) request.timeout = host_.timeout();  // of those who ask a backend directly
  const Call& call = request.call;
  if (request.agree_only) {
    lane_->note(call);
    return OperationPtr(new NcclOperation(*lane_, call, {}));
  }
  const bool capturing = lane_->capturing();
  if (is_between_two(call.kind)) return messages_.start(request, capturing);
  if (capturing && call.kind == Kind::barrier) {
    throw UsageError({.what = "barrier", .why = "the host cannot wait during the capture of a CUDA graph", .fix = {}});
  }
  messages_.flush();
  NcclOperation::Parts parts{.captured = capturing, .host_waits = call.kind == Kind::barrier};
  parts.scratch = queue(request, capturing);
  parts.done = lane_->mark();
  if (!capturing) lane_->watch(call, request.label, request.timeout, parts.done);
  return OperationPtr(new NcclOperation(*lane_, call, std::move(parts)));
}

std::shared_ptr<std::byte> NcclBackend::queue(const Request& request, bool capturing) {
  if (is_reduction(request.call.kind)) return queue_reduction(request, capturing);
  lane_->begin(request);
  request.call.kind == Kind::barrier ? queue_barrier() : queue_moves(*lane_, request);
  return nullptr;
}

std::shared_ptr<std::byte> NcclBackend::queue_reduction(const Request& request, bool capturing) {
  const TreePlan& plan = planner_.plan_for(request);
  const auto queue = [&](const auto& reduction) {
    auto scratch = scratch_.take(reduction.scratch_bytes(), capturing);
    lane_->begin(request);
    reduction.queue(*lane_, scratch.get());
    return scratch;
  };
  if (NcclReduction::has(lane_->nccl(), request, plan, world_size())) {
    return queue(NcclReduction(request, rank(), world_size()));
  }
  return queue(OrderedReduction(request, plan, rank(), world_size()));
}

void NcclBackend::queue_barrier() {
  if (world_size() == 1) return;
  lane_->settle(lane_->nccl().all_reduce(cell_.get(), cell_.get(), 1, DType::int32, ReduceOp::sum, lane_->comm(),
                                         lane_->stream()),
                "ncclAllReduce");
}

std::unique_ptr<Backend> NcclBackend::split(int color, int key) {
  messages_.flush();
  const NcclComm part = [&] {
    const auto entered = watched_->enter();
    return split_nccl_comm(host_, lane_->nccl(), lane_->comm(), color, key);
  }();
  std::unique_ptr<Backend> host = host_.backend().split(color, key);
  if (!host) return nullptr;
  return std::make_unique<NcclBackend>(device_, HostCalls(std::move(host), host_.timeout()), part);
}

// Whether all of the ranks that are left still have a communicator that NCCL can shrink; and who is not among them.
bool NcclBackend::all_revoked(HostCalls& survivors, std::vector<int>& excluded) const {
  struct Survivor {
    int rank;
    bool revoked;
  };
  const auto all = survivors.all_gather(Survivor{rank(), watched_->revoked()});
  for (int rank = 0; rank < world_size(); ++rank) {
    const bool lives = std::any_of(all.begin(), all.end(), [&](const Survivor& each) { return each.rank == rank; });
    if (!lives) excluded.push_back(rank);
  }
  return std::all_of(all.begin(), all.end(), [](const Survivor& each) { return each.revoked; });
}

std::unique_ptr<Backend> NcclBackend::shrink(std::chrono::milliseconds timeout) {
  HostCalls survivors(host_.backend().shrink(timeout), timeout);
  NcclApi& nccl = lane_->nccl();
  std::vector<int> excluded;
  const bool shrinks = all_revoked(survivors, excluded);
  const NcclComm smaller =
      shrinks ? shrink_nccl_comm(survivors, nccl, watched_->comm(), excluded) : make_nccl_comm(survivors, nccl);
  return std::make_unique<NcclBackend>(device_, std::move(survivors), smaller);
}

void NcclBackend::close() {
  messages_.flush();
  watched_->close(host_.timeout());
  close_nccl_comm(lane_->nccl(), watched_->comm(), host_.timeout());
  host_.backend().close();
}

}  // namespace

std::unique_ptr<Backend> make_nccl_backend(std::shared_ptr<Device> device, std::unique_ptr<Backend> host,
                                           std::chrono::milliseconds timeout) {
  HostCalls calls(std::move(host), timeout);
  const NcclComm comm = make_nccl_comm(calls, *device->nccl());
  return std::make_unique<NcclBackend>(std::move(device), std::move(calls), comm);
}

}  // namespace lockstep::comm::gpu
