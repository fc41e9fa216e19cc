// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "gpu/cuda_api.hpp"
#include "gpu/graph_api.hpp"
#include "gpu/nccl_api.hpp"

namespace lockstep::comm::gpu {

// The real ones, which live as long as the process: threads may call them while it ends.
[[nodiscard]] CudaApi& real_cuda();
[[nodiscard]] GraphApi& real_graphs();
[[nodiscard]] NcclApi& real_nccl();

}  // namespace lockstep::comm::gpu
