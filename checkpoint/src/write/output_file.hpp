// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "lockstep/base/file.hpp"

namespace lockstep {

// A new file, mode 0600, past the page cache where its file system allows that. Several threads may write or read it
// at once, in buffers and at offsets that are multiples of a page. All methods throw IoError with the path, the failed
// call and errno's text.
class OutputFile {
 public:
  explicit OutputFile(std::filesystem::path path);  // must not exist

  // Takes the space at once, so that a full disk fails here, and writes of two threads need not wait for each other.
  void allocate(std::uint64_t bytes);
  void write(std::uint64_t offset, std::span<const std::byte> bytes);
  // Cuts it to `bytes` and makes it durable. Once only: the kernel drops pages that it could not write, and the next
  // fsync would report success.
  void finish(std::uint64_t bytes);
  // At least `bytes` into `buffer`, from the disk and not from the page cache where there is a choice.
  void read(std::uint64_t offset, std::span<std::byte> buffer, std::size_t bytes);

 private:
  void use_page_cache();

  std::filesystem::path path_;
  FileDescriptor descriptor_;
  std::atomic<bool> direct_ = false;
};

}  // namespace lockstep
