// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace lockstep::testing {

// Calls of the CUDA runtime by this process so far, LibTorch's and lockstep's. The program defines these functions
// itself and passes them on (cuda_calls.cpp), so it must export its symbols; NCCL's and cuDNN's own calls are not seen.
struct CudaCalls {
  int host_waits = 0;      // cudaStreamSynchronize, cudaDeviceSynchronize, cudaEventSynchronize, cudaMemcpy
  int copies_to_host = 0;  // cudaMemcpyAsync from the device to the host
};
[[nodiscard]] CudaCalls cuda_calls();

}  // namespace lockstep::testing
