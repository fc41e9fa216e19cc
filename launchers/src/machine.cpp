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
#include <map>
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

std::vector<std::vector<int>> cores_of(const std::vector<int>& cpus) {
  std::map<std::pair<std::string, std::string>, std::size_t> indices;
  std::vector<std::vector<int>> cores;
  for (const int cpu : cpus) {
    const std::filesystem::path topology = fmt::format("/sys/devices/system/cpu/cpu{}/topology", cpu);
    auto core = first_line(topology / "core_id");
    if (core.empty()) core = fmt::format("CPU {}", cpu);  // no topology here: take each CPU for a core
    const auto [place, is_new] =
        indices.try_emplace({first_line(topology / "physical_package_id"), core}, cores.size());
    if (is_new) cores.emplace_back();
    cores[place->second].push_back(cpu);
  }
  return cores;
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
  machine.cores = cores_of(cpus);
  if (const auto allowed = cgroup_cpus()) {
    const auto most = std::max<std::size_t>(1, static_cast<std::size_t>(*allowed));
    if (most < machine.cores.size()) machine.cores.resize(most);
  }
  machine.memory_bytes = static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  machine.gpus = nvidia_gpus("/proc/driver/nvidia/gpus");
  return machine;
}

}  // namespace lockstep::launchers
