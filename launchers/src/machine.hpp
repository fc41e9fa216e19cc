// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
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

// The model names below `folder` (/proc/driver/nvidia/gpus), where each GPU has a folder with a file `information`.
[[nodiscard]] std::vector<std::string> nvidia_gpus(const std::filesystem::path& folder);

}  // namespace lockstep::launchers
