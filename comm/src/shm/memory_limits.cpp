// SPDX-License-Identifier: Apache-2.0
#include "memory_limits.hpp"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "lockstep/base/cgroup.hpp"

namespace lockstep::comm::shm {
namespace {

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

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

}  // namespace

std::uint64_t available_memory() { return std::min(host_available(), cgroup_memory_room().value_or(kUnlimited)); }

int usable_cpus() {
  cpu_set_t set;
  const int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(1, static_cast<int>(std::min<double>(cpus, cgroup_cpus().value_or(cpus) + 0.5)));
}

}  // namespace lockstep::comm::shm
