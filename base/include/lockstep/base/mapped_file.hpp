// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "lockstep/base/file.hpp"

namespace lockstep {

// A whole file mapped read-only. The pages are the kernel's cache: ranks of one host share them.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);                     // Throws IoError.
  MappedFile(const FileDescriptor& file, const std::filesystem::path& path);  // The same of an open one.
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace lockstep
