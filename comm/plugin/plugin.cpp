// SPDX-License-Identifier: Apache-2.0
#include "gpu/libraries.hpp"
#include "real_apis.hpp"

// kPluginEntry, the one symbol that this library shows.
extern "C" __attribute__((visibility("default"))) const lockstep::comm::gpu::Libraries* lockstep_gpu_libraries(
    int layout) {
  using namespace lockstep::comm::gpu;
  if (layout != kPluginLayout) return nullptr;
  static const auto* const libraries =
      new Libraries{.cuda = &real_cuda(), .nccl = &real_nccl(), .graphs = &real_graphs()};
  return libraries;
}
