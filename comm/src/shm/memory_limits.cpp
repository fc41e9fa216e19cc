// SPDX-License-Identifier: Apache-2.0
#include "memory_limits.hpp"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>

namespace lockstep::comm::shm {
namespace {

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

std::optional<std::uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  if (file >> value) return value;  // "max" is no number: unlimited
  return std::nullopt;
}

std::uint64_t host_available() {
  std::ifstream file("/proc/meminfo");
  for (std::string name; file >> name;) {
    std::uint64_t kibibytes = 0;
    std::string unit;
    file >> kibibytes >> unit;
    if (name == "MemAvailable:") return kibibytes * 1024;
  }
  return kUnlimited;
}

// The path of our cgroup below `controller`'s hierarchy ("" in v2), from /proc/self/cgroup: "0::/user.slice".
std::string cgroup_of(const std::string& controller) {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::istringstream controllers(line.substr(first + 1, second - first - 1));
    for (std::string name; controller.empty() ? first + 1 == second : !!std::getline(controllers, name, ',');) {
      if (name == controller) return line.substr(second + 1);
    }
  }
  return "/";
}

std::uint64_t room(const std::string& limit_file, const std::string& usage_file) {
  const auto limit = number_in(limit_file);
  const auto usage = number_in(usage_file);
  if (!limit || !usage) return kUnlimited;
  return *limit > *usage ? *limit - *usage : 0;
}

}  // namespace

std::uint64_t available_memory() {
  const std::string v2 = "/sys/fs/cgroup" + cgroup_of("");
  const std::string v1 = "/sys/fs/cgroup/memory" + cgroup_of("memory");
  return std::min({host_available(), room(v2 + "/memory.max", v2 + "/memory.current"),
                   room(v1 + "/memory.limit_in_bytes", v1 + "/memory.usage_in_bytes")});
}

int usable_cpus() {
  cpu_set_t set;
  int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  std::ifstream file("/sys/fs/cgroup" + cgroup_of("") + "/cpu.max");
  double quota = 0;
  double period = 0;
  if (file >> quota >> period && period > 0) cpus = std::min(cpus, static_cast<int>(quota / period + 0.5));
  return std::max(cpus, 1);
}

}  // namespace lockstep::comm::shm
