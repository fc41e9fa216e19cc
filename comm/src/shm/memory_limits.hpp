// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace lockstep::comm::shm {

// Bytes that this process can still use before the kernel ends it: the smaller of the host's MemAvailable and the room
// of its memory cgroups.
[[nodiscard]] std::uint64_t available_memory();

// CPUs that this process may use: its affinity and its cgroups' quota, at least 1.
[[nodiscard]] int usable_cpus();

}  // namespace lockstep::comm::shm
