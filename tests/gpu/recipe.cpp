// SPDX-License-Identifier: Apache-2.0
#include "gpu/recipe.hpp"

#include <fmt/format.h>

#include <cstdlib>

#include "gpu/nccl_api.hpp"

namespace lockstep::testing {

Recipe recipe_for(int nccl_version, int rank) {
  // Two ranks' kernels share one GPU's multiprocessors and spin: few blocks each, so that both are resident.
  const Setting few_blocks{"NCCL_MAX_CTAS", "2"};
  if (nccl_version >= comm::gpu::kVersionWithSharedGpus)
    return {'B', {{"NCCL_MULTI_RANK_GPU_ENABLE", "1"}, {"NCCL_NVLS_ENABLE", "0"}, few_blocks}};
  return {'A',
          {{"NCCL_HOSTID", fmt::format("vnode{}", rank)},
           {"NCCL_NET", "Socket"},
           {"NCCL_IB_DISABLE", "1"},
           {"NCCL_SOCKET_IFNAME", "lo"},
           {"NCCL_MNNVL_ENABLE", "0"},
           {"NCCL_RAS_ENABLE", "0"},
           few_blocks}};
}

std::string to_string(const Recipe& recipe, int nccl_version) {
  std::string text = fmt::format("recipe {} for NCCL {}.{}.{}:", recipe.letter, nccl_version / 10'000,
                                 nccl_version / 100 % 100, nccl_version % 100);
  for (const Setting& setting : recipe.settings) text += fmt::format(" {}={}", setting.name, setting.value);
  return text;
}

void apply(const Recipe& recipe) {
  for (const Setting& setting : recipe.settings) setenv(setting.name.c_str(), setting.value.c_str(), 0);
}

}  // namespace lockstep::testing
