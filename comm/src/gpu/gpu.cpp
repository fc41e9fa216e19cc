// SPDX-License-Identifier: Apache-2.0
#include "lockstep/comm/gpu.hpp"

#include <fmt/format.h>

#include "../communicator_impl.hpp"
#include "device.hpp"
#include "graph_api.hpp"
#include "lockstep/base/error.hpp"
#include "nccl_backend.hpp"
#include "staged_backend.hpp"
#include "transport.hpp"

namespace lockstep {

using comm::gpu::TransportFacts;

Gpu::Gpu(std::shared_ptr<comm::gpu::Device> device) : device_(std::move(device)) {}

Gpu Gpu::open(int index) { return Gpu(std::make_shared<comm::gpu::Device>(comm::gpu::load_libraries(), index)); }

int Gpu::count() {
  if (!comm::gpu::driver_is_present()) return 0;
  int count = 0;
  const auto status = comm::gpu::load_libraries().cuda->device_count(count);
  return status == comm::gpu::CudaStatus::success ? count : 0;
}

int Gpu::index() const noexcept { return device_->index(); }
const std::string& Gpu::name() const noexcept { return device_->facts().name; }
const std::string& Gpu::uuid() const noexcept { return device_->facts().uuid; }

c10::Device Gpu::torch_device() const noexcept {
  const c10::DeviceType type = device_->libraries().device_type;
  if (type == c10::DeviceType::CPU) return type;  // a mock: the CPU has no index
  return {type, static_cast<c10::DeviceIndex>(device_->index())};
}

std::unique_ptr<comm::gpu::Graph> Gpu::make_graph() const { return device_->libraries().graphs->make_graph(); }

int gpu_of_local_rank(int local_rank, int visible) {
  if (visible > 0) return local_rank % visible;
  throw UsageError({.what = fmt::format("a GPU for local rank {}", local_rank),
                    .why = "no GPU is visible to this process",
                    .fix = "look at nvidia-smi, CUDA_VISIBLE_DEVICES and what the job asked for; or run.device=cpu"});
}

GpuTransportChoice choose_transport(Communicator& world, const Gpu& gpu) {
  TransportFacts own = comm::gpu::own_transport_facts(*gpu.device());
  std::vector<TransportFacts> all(static_cast<std::size_t>(world.world_size()));
  world.all_gather(all.data(), {&own, sizeof own, DType::uint8}).wait();
  return comm::gpu::choose(all);
}

Communicator gpu_communicator(Communicator& world, const Gpu& gpu, std::string name, GpuTransport transport) {
  if (transport != GpuTransport::staged) {
    const GpuTransportChoice choice = choose_transport(world, gpu);
    if (transport == GpuTransport::nccl && choice.transport != GpuTransport::nccl) {
      throw UsageError({.who = world.who(),
                        .what = fmt::format("\"{}\" over NCCL", name),
                        .why = choice.why,
                        .fix = "see docs/gpus.md; or let the transport be automatic"});
    }
    transport = choice.transport;
  }
  auto backend = world.make_backend(fmt::format("GPU communicator \"{}\"", name), [&](comm::Backend& own) {
    auto host = own.split(0, own.rank());
    if (transport == GpuTransport::staged) return comm::gpu::make_staged_backend(gpu.device(), std::move(host));
    return comm::gpu::make_nccl_backend(gpu.device(), std::move(host), world.impl_->state->timeout);
  });
  const std::uint64_t calls = world.impl_->state->flight->collectives.load(std::memory_order_relaxed);
  return world.made_from_this(std::move(backend), std::move(name), fmt::format("{}.gpu", calls));
}

}  // namespace lockstep
