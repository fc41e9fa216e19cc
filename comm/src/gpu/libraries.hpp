// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/DeviceType.h>

#include <string>

#include "cuda_api.hpp"
#include "graph_api.hpp"
#include "nccl_api.hpp"

namespace lockstep::comm::gpu {

// What drives the GPUs of a process. Borrowed: the real ones live as long as the process.
struct Libraries {
  CudaApi* cuda = nullptr;
  NcclApi* nccl = nullptr;
  GraphApi* graphs = nullptr;
  c10::DeviceType device_type = c10::DeviceType::CUDA;  // in tests whose device is a mock: CPU
};

// The one function of liblockstep_gpu.so, the only part of lockstep that is linked with CUDA, NCCL and libtorch_cuda.
// `layout`: kPluginLayout of the caller; null if it is not the plugin's own.
inline constexpr int kPluginLayout = 1;  // raised with every change of the classes above
inline constexpr const char* kPluginEntry = "lockstep_gpu_libraries";
using PluginEntry = const Libraries* (*)(int layout);

// Local. Loads liblockstep_gpu.so, and with it libtorch_cuda, once. Throws UsageError that names the file that is
// missing, or that there is no GPU, and what to do.
[[nodiscard]] const Libraries& load_libraries();

// Local. Whether a driver has made a GPU visible to this process; loads nothing.
[[nodiscard]] bool driver_is_present();

// Throws UsageError with all numbers and paths: NCCL's headers, the loaded library and libtorch_cuda must agree in
// major and minor version, or two NCCLs are in one process.
void check_versions(const NcclVersions& versions);

}  // namespace lockstep::comm::gpu
