// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <span>
#include <system_error>
#include <utility>

namespace bench {

// A mapping with one owner, page-aligned.
class Memory {
 public:
  Memory(std::size_t bytes, int file)
      : bytes_(bytes),
        address_(
            ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | (file < 0 ? MAP_ANONYMOUS : 0), file, 0)) {
    if (address_ == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
  }
  Memory(Memory&& other) noexcept : bytes_(other.bytes_), address_(std::exchange(other.address_, MAP_FAILED)) {}
  Memory& operator=(Memory&&) = delete;
  ~Memory() {
    if (address_ != MAP_FAILED) ::munmap(address_, bytes_);
  }
  [[nodiscard]] std::span<std::byte> get() const { return {static_cast<std::byte*>(address_), bytes_}; }

 private:
  std::size_t bytes_;
  void* address_;
};

// Every page was touched.
inline Memory private_memory(std::size_t bytes) {
  Memory memory(bytes, -1);
  const auto all = memory.get();
  for (std::size_t at = 0; at < all.size(); at += 4096) all[at] = std::byte{1};
  return memory;
}

}  // namespace bench
