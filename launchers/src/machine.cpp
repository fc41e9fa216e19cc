// SPDX-License-Identifier: Apache-2.0
#include "machine.hpp"

#include "lockstep/base/cgroup.hpp"
#include "lockstep/base/host.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <set>
#include <string_view>
#include <utility>

namespace lockstep::launchers {
namespace {

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The value of the first line "key<spaces>: value" of a file such as /proc/cpuinfo; empty: none.
std::string value_of(const std::filesystem::path& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(':');
    if (!line.starts_with(key) || colon == std::string::npos) continue;
    const auto start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

std::vector<int> affinity() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

int cores_of(const std::vector<int>& cpus) {
  std::set<std::pair<std::string, std::string>> cores;
  for (const int cpu : cpus) {
    const std::filesystem::path topology = fmt::format("/sys/devices/system/cpu/cpu{}/topology", cpu);
    const auto core = first_line(topology / "core_id");
    if (core.empty()) return static_cast<int>(cpus.size());  // no topology here: take each CPU for a core
    cores.emplace(first_line(topology / "physical_package_id"), core);
  }
  return static_cast<int>(cores.size());
}

}  // namespace

std::vector<std::string> nvidia_gpus(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& gpu : std::filesystem::directory_iterator(folder, none)) {
    names.push_back(value_of(gpu.path() / "information", "Model"));
  }
  return names;
}

Machine look_at_machine() {
  Machine machine;
  machine.host = host_name();
  machine.cpu_model = value_of("/proc/cpuinfo", "model name");
  machine.cpus = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  const auto cpus = affinity();
  machine.usable_cpus = static_cast<int>(cpus.size());
  machine.usable_cores = std::max(1, cores_of(cpus));
  if (const auto allowed = cgroup_cpus()) {
    machine.usable_cores = std::clamp(static_cast<int>(*allowed), 1, machine.usable_cores);
  }
  machine.memory_bytes = static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  machine.gpus = nvidia_gpus("/proc/driver/nvidia/gpus");
  return machine;
}

}  // namespace lockstep::launchers
