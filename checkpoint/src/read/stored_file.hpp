// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "lockstep/base/file.hpp"

namespace lockstep {

// A regular file, open for reading at offsets. All methods throw IoError with the path and errno's text.
class StoredFile {
 public:
  // A symbolic link, FIFO or device in the file's place is refused.
  explicit StoredFile(std::filesystem::path path);

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }                   // when it was opened
  void read(std::uint64_t offset, std::span<std::byte> bytes) const;                      // all of them, or an error
  [[nodiscard]] std::uint32_t checksum(std::uint64_t offset, std::uint64_t bytes) const;  // CRC-32C
  [[nodiscard]] std::vector<std::uint32_t> block_checksums(std::uint64_t block_bytes) const;  // of the whole file

 private:
  [[noreturn]] void fail(const char* what, const std::string& why) const;
  std::filesystem::path path_;
  FileDescriptor descriptor_;
  std::uint64_t bytes_ = 0;
};

}  // namespace lockstep
