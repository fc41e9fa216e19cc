// SPDX-License-Identifier: Apache-2.0
// All-reduce in tree order and in NCCL's own (`any`), in turns, by the ranks that a launcher started.
#include <ATen/ATen.h>

#include "gpu/recipe.hpp"
#include "gpu_bench.hpp"
#include "lockstep/comm/backend.hpp"
#include "lockstep/comm/session.hpp"

namespace lockstep::bench {
namespace {

// Where ranks share a GPU, NCCL has to be told before its first call.
int choose_gpu(Communicator& world) {
  const auto& libraries = comm::gpu::load_libraries();
  const int visible = Gpu::count();
  if (world.world_size() > visible && libraries.nccl != nullptr)
    testing::apply(testing::recipe_for(libraries.nccl->versions().loaded, world.rank()));
  return gpu_of_local_rank(world.peers()[static_cast<std::size_t>(world.rank())].local_rank, visible);
}

double microseconds(Communicator& ranks, c10::Device device, at::Tensor& tensor, ReduceOrder order) {
  const auto seconds =
      time_on_device(device, 7, 10, [&] { ranks.all_reduce(tensor, ReduceOp::sum, {.order = order}).wait(); });
  return median(seconds) * 1e6;
}

void measure(Communicator& world) {
  const auto gpu = open_gpu("order", [&] { return choose_gpu(world); });
  if (!gpu) return;
  const c10::Device device = device_of(*gpu);
  const bool shared = world.world_size() > Gpu::count();
  Communicator ranks = gpu_communicator(world, *gpu, "bench");
  for (const std::int64_t kib : {1, 64, 1024, 25 * 1024, 100 * 1024}) {
    at::Tensor tensor = at::zeros({kib * 256}, at::TensorOptions().device(device));
    const double tree = microseconds(ranks, device, tensor, ReduceOrder::tree);
    const double any = microseconds(ranks, device, tensor, ReduceOrder::any);
    if (ranks.rank() != 0) continue;
    print({{"bench", "order"},
           {"gpu", gpu->name()},
           {"transport", ranks.backend_name()},
           {"ranks", ranks.world_size()},
           {"shared_gpu", shared},
           {"kib", kib},
           {"tree_us", tree},
           {"any_us", any}});
  }
  ranks.close();
}

}  // namespace
}  // namespace lockstep::bench

int main() {
  const auto session = lockstep::open_session(std::chrono::seconds(60));
  {
    lockstep::Communicator world = session->world();
    lockstep::bench::measure(world);
    world.barrier();
    world.close();
  }
  session->finalize();
}
