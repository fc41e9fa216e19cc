// SPDX-License-Identifier: Apache-2.0
#include "gpu_choice.hpp"

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
  } catch (const UsageError& error) {  // lockstep has no GPU part here, or LibTorch none
    return error.text().why;
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
    std::int64_t every = own.empty() ? 1 : 0;
    world.all_reduce({&every, 1, DType::int64}, ReduceOp::min).wait();
    if (every == 0) return {.gpu = {}, .why = own.empty() ? "not every rank has a GPU" : own};
  }
  DeviceChoice choice{.gpu = {}, .why = "run.device=" + device};
  agree(world, [&] { choice.gpu = open_own(world); });
  return choice;
}

}  // namespace lockstep
