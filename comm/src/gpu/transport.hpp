// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "device.hpp"
#include "lockstep/comm/gpu.hpp"

namespace lockstep::comm::gpu {

// What a rank's GPU and environment have to say about NCCL, as ranks tell each other.
struct TransportFacts {
  std::array<char, 64> uuid{};    // of the GPU
  std::array<char, 128> host{};   // NCCL_HOSTID, cut off; empty: not set
  std::int32_t nccl_version = 0;  // 0: there is no NCCL
  std::int8_t kernels = 0;        // our own are there
  std::int8_t shares = 0;         // NCCL_MULTI_RANK_GPU_ENABLE=1
  std::array<char, 2> unused{};   // sent, too
};

// Local. Those of this process.
[[nodiscard]] TransportFacts own_transport_facts(const Device& device);

// Pure. What `automatic` takes where ranks have these facts: staged names the first rank that NCCL does not suit.
[[nodiscard]] GpuTransportChoice choose(std::span<const TransportFacts> facts);

}  // namespace lockstep::comm::gpu
