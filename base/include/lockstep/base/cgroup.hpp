// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

// What this process's control groups allow it: its own, and all those above, whose limits count as well. Nothing: no
// limit. `root` holds proc and sys; tests give another one.
namespace lockstep {

// Bytes until the group with the least room is full (v2 or v1). Cached files that were not used lately do not count as
// used: the kernel drops them first.
[[nodiscard]] std::optional<std::uint64_t> cgroup_memory_room(const std::string& root = "");

// CPUs' worth of time (v2).
[[nodiscard]] std::optional<double> cgroup_cpus(const std::string& root = "");

}  // namespace lockstep
