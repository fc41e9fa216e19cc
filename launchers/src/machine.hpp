// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::launchers {

// This host, as far as this process may use it.
struct Machine {
  std::string host{};
  std::string cpu_model{};
  int cpus = 0;                           // hardware threads of the host
  int usable_cpus = 0;                    // of those, the ones in this process's affinity mask
  std::vector<std::vector<int>> cores{};  // that those belong to, each with its CPUs; fewer where a cgroup limits time
  std::int64_t memory_bytes = 0;
  std::vector<std::string> gpus{};  // NVIDIA model names; empty: none
};

[[nodiscard]] Machine look_at_machine();

// The whole CPUs that the text of a cgroup's cpu.max ("150000 100000", "max 100000") allows, at least 1; nothing: no
// limit. Pure.
[[nodiscard]] std::optional<int> cpus_allowed(std::string_view cpu_max);

// The model names below `folder` (/proc/driver/nvidia/gpus), where each GPU has a folder with a file `information`.
[[nodiscard]] std::vector<std::string> nvidia_gpus(const std::filesystem::path& folder);

}  // namespace lockstep::launchers
