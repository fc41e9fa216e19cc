// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace lockstep::comm::shm {

// Bytes that this process can still use before the kernel ends it: the smaller of the host's MemAvailable and the room
// of its memory cgroup (v2 or v1).
[[nodiscard]] std::uint64_t available_memory();

// CPUs that this process may use: its affinity and its cgroup's quota, at least 1.
[[nodiscard]] int usable_cpus();

}  // namespace lockstep::comm::shm
