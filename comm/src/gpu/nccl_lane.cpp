// SPDX-License-Identifier: Apache-2.0
#include "nccl_lane.hpp"

#include <fmt/format.h>

#include "../missing_ranks.hpp"
#include "native_error.hpp"

namespace lockstep::comm::gpu {

NcclLane::NcclLane(std::shared_ptr<Device> device, std::shared_ptr<WatchedComm> watched, bool pulse_is_ours,
                   const Backend& ranks)
    : device_(std::move(device)),
      watched_(std::move(watched)),
      pulse_is_ours_(pulse_is_ours),
      peers_(ranks.peers()),
      rank_(ranks.rank()),
      world_size_(ranks.world_size()) {
  check_cuda(cuda().create_stream(stream_), "cudaStreamCreateWithPriority");
}

NcclLane::~NcclLane() { (void)cuda().destroy_stream(stream_); }

void NcclLane::check_nccl(NcclStatus status, const char* call) const { check(nccl(), comm(), status, call); }
void NcclLane::check_cuda(CudaStatus status, const char* call) const { check(cuda(), status, call); }

void NcclLane::begin(const Request& request) {
  watched_->throw_if_failed();
  listen();
  allow(request.call, request.timeout);
  const std::shared_ptr<EventHandle> queued = device_->events().take();
  check_cuda(cuda().record(queued.get(), cuda().current_stream(device_->index())), "cudaEventRecord");
  check_cuda(cuda().make_wait(stream_, queued.get()), "cudaStreamWaitEvent");
  note(request.call);
}

void NcclLane::note(const Call& call) {
  if (!is_between_two(call.kind)) ++number_;
  watched_->note(call);
}

void NcclLane::allow(const Call& call, std::chrono::milliseconds timeout) {
  newest_ = call;
  timeout_ = timeout;
  begun_ = Clock::now();
}

std::shared_ptr<EventHandle> NcclLane::mark() {
  std::shared_ptr<EventHandle> done = device_->events().take();
  check_cuda(cuda().record(done.get(), stream_), "cudaEventRecord");
  newest_done_ = done;
  return done;
}

void NcclLane::watch(const Call& call, std::string_view label, std::chrono::milliseconds timeout,
                     const std::shared_ptr<EventHandle>& done) {
  watched_->queued({.call = call,
                    .label = std::string(label),
                    .queued = Clock::now(),
                    .timeout = timeout,
                    .done = done,
                    .number = number_});
}

void NcclLane::settle(NcclStatus status, const char* call) {
  check_nccl(status, call);
  while (status == NcclStatus::in_progress) {
    watched_->throw_if_failed();
    check_nccl(nccl().async_error(comm(), status), "ncclCommGetAsyncError");
    check_nccl(status, call);
    if (status != NcclStatus::in_progress) return;
    if (Clock::now() - begun_ > timeout_) throw_late(call);
    listen();
    std::this_thread::yield();
  }
}

void NcclLane::throw_late(const char* call) const {
  const std::vector<int> behind = watched_->behind(newest_);
  const std::string late = fmt::format("NCCL could not begin {} within {:.1f} s", call, timeout_.count() / 1000.0);
  if (behind.empty()) {
    throw BackendFailure{{.kind = FailureKind::timeout,
                          .why = late + ", though all ranks have called it",
                          .fix = "set NCCL_DEBUG=INFO, which prints what NCCL waits for, and see docs/gpus.md#hangs"}};
  }
  throw BackendFailure{{.kind = FailureKind::timeout,
                        .why = fmt::format("{}, waiting for {}", late, names_of(behind, peers_)),
                        .fix = std::string(kFixOfMissingRanks),
                        .culprit = behind.front()}};
}

void NcclLane::exchange(std::span<const Transfer> transfers) {
  bool empty = true;
  for (const Transfer& each : transfers) empty = empty && each.elements == 0;
  if (empty) return;
  together([&] {
    for (const Transfer& each : transfers) {
      if (each.elements == 0) continue;
      const auto elements = static_cast<std::size_t>(each.elements);
      if (each.kind == Kind::send) {
        check_nccl(nccl().send(each.memory, elements, each.dtype, each.peer, comm(), stream_), "ncclSend");
      } else {
        check_nccl(nccl().receive(each.memory, elements, each.dtype, each.peer, comm(), stream_), "ncclRecv");
      }
    }
  });
}

void NcclLane::copy(void* to, const void* from, std::size_t bytes) {
  if (to == from || bytes == 0) return;
  check_cuda(cuda().copy(to, from, bytes, stream_), "cudaMemcpyAsync");
}

bool NcclLane::capturing() const { return cuda().capturing(cuda().current_stream(device_->index())); }

void NcclLane::join_caller(EventHandle* done) const {
  check_cuda(cuda().make_wait(cuda().current_stream(device_->index()), done), "cudaStreamWaitEvent");
}

bool NcclLane::is_done(std::uint64_t serial, std::uint64_t number, EventHandle* done, Clock::time_point slice_end) {
  if (slice_end == pass_ && serial > pass_stopped_at_) return false;
  pass_ = slice_end;
  pass_stopped_at_ = serial;
  watched_->throw_if_failed();
  if (capturing()) return false;  // a query would end the capture
  (void)watched_->done(number);
  const CudaStatus status = cuda().query(done);
  if (status == CudaStatus::not_ready) {
    listen();
    return false;
  }
  check_cuda(status, "cudaEventQuery");
  pass_stopped_at_ = UINT64_MAX;
  return true;
}

bool NcclLane::is_idle() const { return !newest_done_ || cuda().query(newest_done_.get()) == CudaStatus::success; }

void NcclLane::listen() {
  if (!pulse_is_ours_ || std::this_thread::get_id() != maker_) return;
  const auto now = Clock::now();
  if (now - listened_ < kListenPeriod) return;
  listened_ = now;
  watched_->advance_pulse();
}

}  // namespace lockstep::comm::gpu
