// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

#include "lockstep/base/file.hpp"
#include "memory_limits.hpp"

namespace lockstep::comm::shm {

// Wakes a rank that sleeps; at the start of its arena.
struct alignas(128) Doorbell {
  std::atomic<std::uint32_t> rung{0};      // a futex word
  std::atomic<std::uint32_t> sleeping{0};  // 1: its owner is in, or about to enter, a futex wait
  std::atomic<std::uint64_t> backed{0};    // bytes of its arena that have pages
  std::atomic<std::int32_t> blames{-1};    // whom its owner holds responsible for giving up: HostGroup::numbers_
};

// What has been made at a suitably aligned place of an arena.
template <class T>
[[nodiscard]] T* object_at(std::byte* place) noexcept {
  return std::launder(static_cast<T*>(static_cast<void*>(place)));
}

// A mapping of one rank's memory file. Nothing has a name in the file system, so nothing can be left behind.
class Mapping {
 public:
  explicit Mapping(const FileDescriptor& memory_file);  // Throws IoError.
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();
  [[nodiscard]] std::byte* at(std::uint64_t offset) const noexcept { return base_ + offset; }
  // A peer's memory up to `end` will be used: maps the pages of all that it has at once, instead of a fault for each
  // inside a collective.
  void prepare_until(std::uint64_t end) noexcept {
    if (end > prepared_.load(std::memory_order_relaxed)) prepare_more(end);
  }
  [[nodiscard]] Doorbell& doorbell() const noexcept;

 private:
  void prepare_more(std::uint64_t end) noexcept;
  std::byte* base_;
  std::atomic<std::uint64_t> prepared_{0};  // ranks that are threads share a mapping
};

// What an arena asks of the system; tests answer for it.
struct MemorySource {
  std::uint64_t (*available)() = available_memory;
  int (*reserve)(int file, int mode, off_t offset, off_t bytes) = fallocate;
};

// The memory that a rank shares with its peers on the host: a memfd, reserved in address space and backed page by page
// as it is allocated, so that peers map it once. Not thread-safe.
class Arena {
 public:
#ifdef __SANITIZE_THREAD__
  static constexpr std::uint64_t kReserved = std::uint64_t{1} << 32;  // of what it leaves to programs, for many ranks
#else
  static constexpr std::uint64_t kReserved = std::uint64_t{1} << 36;  // bytes of address space, not of memory
#endif
  explicit Arena(const MemorySource& source = {});                    // Throws IoError.

  // 128-byte aligned, zeroed, touched here first. Lives as long as the arena. Throws IoError with the bytes that were
  // asked for and those that are available: a page that cannot be had later would be a SIGBUS.
  [[nodiscard]] std::uint64_t allocate(std::size_t bytes);

  // Where memory of this arena lies in it; nothing for other memory.
  [[nodiscard]] bool contains(const void* memory, std::size_t bytes) const noexcept;
  [[nodiscard]] std::uint64_t offset_of(const void* memory) const noexcept;

  [[nodiscard]] const FileDescriptor& file() const noexcept { return file_; }
  [[nodiscard]] const Mapping& mapping() const noexcept { return *mapping_; }
  [[nodiscard]] const std::shared_ptr<Mapping>& shared_mapping() const noexcept { return mapping_; }

 private:
  MemorySource source_;
  FileDescriptor file_;
  std::shared_ptr<Mapping> mapping_;
  std::uint64_t used_ = 0;
  std::uint64_t backed_ = 0;
};

}  // namespace lockstep::comm::shm
