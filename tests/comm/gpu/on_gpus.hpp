// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string_view>

#include "comm/thread_ranks.hpp"
#include "gpu/device.hpp"
#include "gpu/staged_backend.hpp"
#include "support/fake_gpu/fake_gpu.hpp"

namespace lockstep::testing {

// Runs `body(Communicator& staged)` on threads that are ranks, each with a fake GPU, over the host's `backend`.
template <class Body>
void on_staged(std::string_view backend, test::FakeGpus& gpus, int world_size, const Body& body,
               std::size_t piece_bytes = comm::gpu::kStagedPieceBytes,
               std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
  gpus.run_default_streams_on_caller();  // the cases write to memory of the GPU as the host does to its own
  on_threads(backend, world_size, [&](Communicator& world) {
    auto device = std::make_shared<comm::gpu::Device>(gpus.libraries(world.rank()), 0);
    world.barrier();
    auto host = world.backend().split(0, world.rank());
    world.barrier();
    Communicator staged(comm::gpu::make_staged_backend(std::move(device), std::move(host), piece_bytes), "world",
                        timeout);
    body(staged);
  });
}

}  // namespace lockstep::testing
