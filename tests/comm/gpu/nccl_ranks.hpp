// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>

#include "gpu/device.hpp"
#include "gpu/nccl_backend.hpp"
#include "lockstep/comm/backend.hpp"
#include "lockstep/comm/local.hpp"
#include "support/fake_gpu/fake_gpu.hpp"

namespace lockstep::testing {

// One rank: its GPU, its communicator of the host, and one of GPUs over NCCL.
struct NcclRank {
  Communicator& world;
  std::shared_ptr<comm::gpu::Device> device;
  Communicator gpus;

  [[nodiscard]] comm::gpu::CudaApi& cuda() const { return device->cuda(); }
};

inline Communicator nccl_over(Communicator& world, const std::shared_ptr<comm::gpu::Device>& device,
                              std::chrono::milliseconds timeout) {
  auto host = world.backend().split(0, world.rank());
  return Communicator(comm::gpu::make_nccl_backend(device, std::move(host), timeout), "gpus", timeout);
}

// Runs `body(NcclRank&)` on threads that are ranks.
template <class Body>
void on_nccl(test::FakeGpus& gpus, int world_size, const Body& body,
             std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
  run_local_ranks(
      world_size,
      [&](Communicator& world) {
        auto device = std::make_shared<comm::gpu::Device>(gpus.libraries(world.rank()), 0);
        NcclRank rank{world, device, nccl_over(world, device, timeout)};
        body(rank);
        if (!rank.gpus.failed()) world.barrier();  // nobody leaves while others still check
      },
      timeout);
}

}  // namespace lockstep::testing
