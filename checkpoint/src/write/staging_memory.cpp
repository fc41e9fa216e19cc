// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <limits>
#include <string>
#include <system_error>
#include <utility>

#include "lockstep/base/cgroup.hpp"
#include "lockstep/base/error.hpp"
#include "write/file_writer.hpp"

namespace lockstep {
namespace {

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

std::uint64_t host_available() {
  std::ifstream file("/proc/meminfo");
  for (std::string name, unit; file >> name;) {
    std::uint64_t kibibytes = 0;
    file >> kibibytes >> unit;
    if (name == "MemAvailable:") return kibibytes << 10;
  }
  return kUnlimited;
}

[[noreturn]] void refuse(std::size_t bytes, const std::string& why) {
  throw IoError(
      {.what = fmt::format("get {} MiB of staging memory for a checkpoint", (bytes >> 20) + 1),
       .why = why,
       .fix = "shard the state over more ranks, start fewer ranks on this host or leave its tasks more memory"});
}

// Touching memory that is not there calls the kernel's killer instead of failing.
void check_available(std::size_t bytes) {
  const std::uint64_t available = std::min(host_available(), cgroup_memory_room().value_or(kUnlimited));
  if (bytes > available) refuse(bytes, fmt::format("{} MiB are available", available >> 20));
}

// Kernels before 5.14 do not know the advice.
void touch(std::span<std::byte> memory, std::size_t page) {
  if (::madvise(memory.data(), memory.size(), MADV_POPULATE_WRITE) == 0) return;
  for (std::size_t at = 0; at < memory.size(); at += page)
    *static_cast<volatile std::byte*>(&memory[at]) = std::byte{0};
}

}  // namespace

StagingMemory::~StagingMemory() {
  if (!memory_.empty()) ::munmap(memory_.data(), memory_.size());
}

std::span<std::byte> StagingMemory::reserve(std::size_t bytes) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t needed = (std::max<std::size_t>(bytes, 1) + page - 1) / page * page;
  if (needed <= memory_.size()) return memory_.first(needed);
  if (const auto old = std::exchange(memory_, {}); !old.empty()) ::munmap(old.data(), old.size());
  check_available(needed);
  void* const memory = ::mmap(nullptr, needed, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) refuse(needed, std::system_category().message(errno));
  memory_ = {static_cast<std::byte*>(memory), needed};
  ::madvise(memory, needed, MADV_HUGEPAGE);  // fewer faults, and fewer pages for the disk driver to pin
  touch(memory_, page);
  return memory_;
}

}  // namespace lockstep
