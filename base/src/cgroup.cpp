// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/cgroup.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <vector>

namespace lockstep {
namespace {

std::optional<std::uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  if (file >> value) return value;  // "max" is no number: unlimited
  return std::nullopt;
}

// The value behind `key` in a file of lines "key value".
std::uint64_t value_of(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  for (std::string name; file >> name >> value;) {
    if (name == key) return value;
  }
  return 0;
}

// The path of our group in the hierarchy of `controller` ("": v2), from lines such as "4:memory:/user" and "0::/user".
std::string own_group(const std::string& root, const std::string& controller) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::istringstream controllers(line.substr(first + 1, second - first - 1));
    for (std::string name; controller.empty() ? first + 1 == second : !!std::getline(controllers, name, ',');) {
      if (name == controller) return line.substr(second + 1);
    }
  }
  return "";
}

// The folders of our group and of those above. A container may see its own group as the topmost, by another path than
// the one that it is told: then only that last folder exists.
std::vector<std::string> groups(const std::string& root, const std::string& hierarchy, const std::string& controller) {
  std::vector<std::string> folders;
  std::string group = own_group(root, controller);
  for (; group.size() > 1; group.resize(group.rfind('/'))) folders.push_back(root + hierarchy + group + '/');
  folders.push_back(root + hierarchy + '/');
  return folders;
}

}  // namespace

std::optional<std::uint64_t> cgroup_memory_room(const std::string& root) {
  std::optional<std::uint64_t> least;
  const auto look = [&](const std::string& group, const char* limit_file, const char* usage_file, const char* unused) {
    const auto limit = number_in(group + limit_file);
    const auto usage = number_in(group + usage_file);
    if (!limit || !usage) return;
    const std::uint64_t used = *usage - std::min(*usage, value_of(group + "memory.stat", unused));
    least = std::min(least.value_or(*limit), *limit - std::min(*limit, used));
  };
  for (const std::string& group : groups(root, "/sys/fs/cgroup", ""))
    look(group, "memory.max", "memory.current", "inactive_file");
  for (const std::string& group : groups(root, "/sys/fs/cgroup/memory", "memory"))
    look(group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file");
  return least;
}

std::optional<double> cgroup_cpus(const std::string& root) {
  std::optional<double> least;
  for (const std::string& group : groups(root, "/sys/fs/cgroup", "")) {
    std::ifstream file(group + "cpu.max");  // "150000 100000", or "max 100000"
    double quota = 0;
    double period = 0;
    if (file >> quota >> period && period > 0) least = std::min(least.value_or(quota / period), quota / period);
  }
  return least;
}

}  // namespace lockstep
