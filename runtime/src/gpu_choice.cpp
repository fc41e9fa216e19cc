// SPDX-License-Identifier: Apache-2.0
#include "gpu_choice.hpp"

#include <fmt/format.h>

#include "lockstep/base/error.hpp"
#include "lockstep/comm/agree.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep {
namespace {

// LibTorch has one generator of each GPU and one queue of autograd for it, and ranks that are threads take turns, in
// which they would wait for each other inside of CUDA.
bool ranks_are_threads(const Communicator& world) { return world.world_size() > 1 && world.backend_name() == "local"; }

// Local. Why this rank computes on the CPU; empty: it has a GPU.
std::string why_no_gpu(const Communicator& world) {
  if (ranks_are_threads(world)) return "ranks are threads of one process";
  try {
    return Gpu::count() > 0 ? "" : "no GPU is visible";
  } catch (const std::exception& error) {  // lockstep has no GPU part here, LibTorch none, or a library is missing
    const auto* const ours = dynamic_cast<const Error*>(&error);
    return ours != nullptr ? ours->text().why : error.what();
  }
}

Gpu open_own(const Communicator& world) {
  if (ranks_are_threads(world)) {
    throw UsageError({.what = "run.device=cuda",
                      .why = "the ranks are threads of one process, and share LibTorch's generators",
                      .fix = "start one process for each GPU: lockstep run -n 2 PROGRAM"});
  }
  const int local_rank = world.peers()[static_cast<std::size_t>(world.rank())].local_rank;
  return Gpu::open(gpu_of_local_rank(local_rank, Gpu::count()));
}

}  // namespace

DeviceChoice choose_device(Communicator& world, const std::string& device) {
  if (device == "cpu") return {.gpu = {}, .why = "run.device=cpu"};
  if (device == "auto") {
    const std::string own = why_no_gpu(world);
    std::int64_t without = own.empty() ? world.world_size() : world.rank();  // the first that has none
    world.all_reduce({&without, 1, DType::int64}, ReduceOp::min).wait();
    if (without < world.world_size()) {
      const auto rank = static_cast<int>(without);
      return {.gpu = {}, .why = fmt::format("rank {}: {}", rank, world.broadcast(own, rank))};
    }
  }
  DeviceChoice choice{.gpu = {}, .why = "run.device=" + device};
  agree(world, [&] { choice.gpu = open_own(world); });
  return choice;
}

}  // namespace lockstep
