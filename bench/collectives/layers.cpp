// SPDX-License-Identifier: Apache-2.0
// What each layer costs: an 8-byte all-reduce through Backend, through Communicator with plain memory, and with a
// tensor. usage: mpirun -np 2 bench_layers BARRIER_FILE SECONDS
// Bursts of calls are timed, because one takes little longer than reading the clock; layers take turns burst by burst.
#include <ATen/Functions.h>

#include "backend_call.hpp"
#include "flight_ring.hpp"
#include "harness.hpp"
#include "lockstep/comm/communicator.hpp"
#include "lockstep/comm/session.hpp"

namespace {

constexpr bench::Case kLayers[] = {
    {.name = "backend"}, {.name = "communicator"}, {.name = "tensor"}, {.name = "communicator_unrecorded"}};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto session = lockstep::open_session(std::chrono::seconds(60));
  lockstep::Communicator world = session->world("shm");
  const bench::Settings settings{.contender = "layers",
                                 .file = argv[1],
                                 .cases = {std::begin(kLayers), std::end(kLayers)},
                                 .smallest = 8,
                                 .largest = 8,
                                 .seconds = std::atof(argv[2]),
                                 .burst = 1000,
                                 .rank = world.rank(),
                                 .ranks = world.world_size()};
  const std::shared_ptr<std::byte> memory = world.allocate(settings.pool_bytes());
  std::vector<at::Tensor> tensors;  // one a slot, made beforehand: making one is no part of the call
  for (std::int64_t slot = 0; slot < bench::kMostSlots; ++slot)
    tensors.push_back(at::from_blob(memory.get() + slot * bench::kSlotAlignment, {2}, at::kFloat));
  bool recording = true;
  bench::measure(settings, memory.get(), [&](std::size_t layer, const bench::Case& of, const bench::Buffers& buffers) {
    if ((layer != 3) != recording) lockstep::flight::set_enabled(recording = layer != 3);  // once a burst
    if (layer == 0) {
      bench::call_backend(world.backend(), of, buffers);
    } else if (layer == 1 || layer == 3) {
      world.all_reduce({buffers.output, buffers.elements, lockstep::DType::float32}).wait();
    } else {
      const auto offset = static_cast<std::byte*>(buffers.output) - memory.get();
      world.all_reduce(tensors[static_cast<std::size_t>(offset / bench::kSlotAlignment)]).wait();
    }
  });
  world.close();
  session->finalize();
  return 0;
}
