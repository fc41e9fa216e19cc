// SPDX-License-Identifier: Apache-2.0
#include "gpu/gpu_ranks.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <optional>

#include "gpu/device.hpp"
#include "gpu/libraries.hpp"
#include "gpu/recipe.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/backend.hpp"
#include "support/rank_world.hpp"

namespace lockstep::testing {
namespace {

std::optional<Gpu> gpu_of_rank;

std::string in_one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

void share_gpus(const comm::gpu::NcclVersions& versions) {
  const Recipe recipe = recipe_for(versions.loaded, world().rank());
  apply(recipe);
  std::printf("[rank %d] %s\n", world().rank(), to_string(recipe, versions.loaded).c_str());
}

std::string open_gpu() {
  try {
    const comm::gpu::Libraries& libraries = comm::gpu::load_libraries();
    const int visible = Gpu::count();
    const int local_rank = world().peers()[static_cast<std::size_t>(world().rank())].local_rank;
    if (world().world_size() > visible && libraries.nccl != nullptr) share_gpus(libraries.nccl->versions());
    gpu_of_rank = Gpu::open(gpu_of_local_rank(local_rank, visible));
    return "";
  } catch (const Error& error) {
    return in_one_line(error.what());
  }
}

std::string agree_on(const std::string& own) {
  std::int32_t lacks = own.empty() ? world().world_size() : world().rank();
  world().all_reduce({&lacks, 1, DType::int32}, ReduceOp::min).wait();
  return lacks == world().world_size() ? "" : world().broadcast(own, lacks);
}

}  // namespace

const std::string& why_no_gpus() {
  static const std::string why = agree_on(open_gpu());
  return why;
}

Gpu& rank_gpu() { return gpu_of_rank.value(); }

c10::Device rank_device() {
  return {rank_gpu().device()->libraries().device_type, static_cast<c10::DeviceIndex>(rank_gpu().index())};
}

}  // namespace lockstep::testing
