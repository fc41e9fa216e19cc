// SPDX-License-Identifier: Apache-2.0
// The host's time for Communicator::all_reduce over NCCL beside the bare ncclAllReduce and the record of an event, both
// through the same thin classes, one rank; in turns.
#include <ATen/ATen.h>

#include <thread>

#include "gpu_bench.hpp"
#include "lockstep/comm/local.hpp"

namespace lockstep::bench {
namespace {

using comm::gpu::NcclStatus;

constexpr int kRounds = 40, kCalls = 250;  // few enough that the stream's queue never fills

// ncclAllReduce and an event on the current stream.
class Bare {
 public:
  explicit Bare(const Gpu& gpu) : device_(*gpu.device()), event_(device_.events().take()) {
    comm::gpu::UniqueId id{};
    NcclStatus status = device_.nccl()->unique_id(id);
    if (status == NcclStatus::success) status = device_.nccl()->init(comm_, 1, id, 0);
    while (status == NcclStatus::in_progress) {
      std::this_thread::yield();
      if (device_.nccl()->async_error(comm_, status) != NcclStatus::success) break;
    }
    if (status != NcclStatus::success) throw CommError({.what = "bench", .why = device_.nccl()->text(status)});
  }
  Bare(const Bare&) = delete;
  Bare& operator=(const Bare&) = delete;
  ~Bare() { (void)device_.nccl()->abort(comm_); }

  void all_reduce(at::Tensor& tensor) {
    const auto stream = device_.cuda().current_stream(device_.index());
    (void)device_.nccl()->all_reduce(tensor.data_ptr(), tensor.data_ptr(), static_cast<std::size_t>(tensor.numel()),
                                     DType::float32, ReduceOp::sum, comm_, stream);
    (void)device_.cuda().record(event_.get(), stream);
  }

 private:
  comm::gpu::Device& device_;
  std::shared_ptr<comm::gpu::EventHandle> event_;
  comm::gpu::NcclComm comm_ = nullptr;
};

template <class Call>
double host_microseconds(c10::Device device, Call call) {
  wait_for(device);
  const auto start = Clock::now();
  for (int i = 0; i < kCalls; ++i) call();
  const double seconds = seconds_since(start);
  wait_for(device);
  return seconds / kCalls * 1e6;
}

void measure(Communicator& world) {
  const auto gpu = open_gpu("overhead");
  if (!gpu) return;
  const c10::Device device = device_of(*gpu);
  Communicator ranks = gpu_communicator(world, *gpu, "bench", GpuTransport::nccl);
  Bare bare(*gpu);
  at::Tensor tensor = at::ones({1024}, at::TensorOptions().device(device));
  const auto ours = [&](ReduceOrder order) {
    return host_microseconds(device, [&] { ranks.all_reduce(tensor, ReduceOp::sum, {.order = order}).wait(); });
  };
  std::vector<double> raw, any, tree, added;
  for (int round = -5; round < kRounds; ++round) {  // the first five warm up
    const double of_raw = host_microseconds(device, [&] { bare.all_reduce(tensor); });
    const double of_any = ours(ReduceOrder::any), of_tree = ours(ReduceOrder::tree);
    if (round < 0) continue;
    raw.push_back(of_raw);
    any.push_back(of_any);
    tree.push_back(of_tree);
    added.push_back(of_any - of_raw);
  }
  print({{"bench", "overhead"},
         {"gpu", gpu->name()},
         {"raw_us", median(raw)},
         {"any_us", median(any)},
         {"tree_us", median(tree)},
         {"added_us", median(added)},
         {"rounds", kRounds}});
  ranks.close();
}

}  // namespace
}  // namespace lockstep::bench

int main() { lockstep::run_local_ranks(1, lockstep::bench::measure); }
