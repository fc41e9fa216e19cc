// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>

#include "device.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::gpu {

// Collective over `host`, whose ranks it takes. Collectives of memory on this rank's GPU, queued on a stream of the
// backend's own behind what the caller's current stream holds; their results come before what the caller queues on it
// after join_stream(). No call waits for the device. `host` stays with the backend: it brings the unique id, splits
// and shrinks. Throws BackendFailure, UsageError.
[[nodiscard]] std::unique_ptr<Backend> make_nccl_backend(std::shared_ptr<Device> device, std::unique_ptr<Backend> host,
                                                         std::chrono::milliseconds timeout);

}  // namespace lockstep::comm::gpu
