// SPDX-License-Identifier: Apache-2.0
#include "device.hpp"
#include "graph_api.hpp"
#include "lockstep/comm/gpu.hpp"

// What of a GPU is LibTorch's.
namespace lockstep {

c10::Device Gpu::torch_device() const noexcept {
  const c10::DeviceType type = device_->libraries().device_type;
  if (type == c10::DeviceType::CPU) return type;  // a mock: the CPU has no index
  return {type, static_cast<c10::DeviceIndex>(device_->index())};
}

std::unique_ptr<comm::gpu::Graph> Gpu::make_graph() const { return device_->libraries().graphs->make_graph(); }

}  // namespace lockstep
