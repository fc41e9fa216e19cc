// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "lockstep/base/file.hpp"

namespace lockstep {

// Tells a file from another that took its name.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t bytes = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

// All of these throw IoError with the path and errno's text where the file is to blame (it is missing, a link, no
// regular file, cannot be read), and CannotLook where it is not (no permission, no descriptor left).

// A folder, open to find files in. A fault of it is never one of a file: anything but its absence is CannotLook.
[[nodiscard]] FileDescriptor open_folder(const std::filesystem::path& path);

// Of a regular file in `folder`, without opening it. `path` is for messages.
[[nodiscard]] FileIdentity identify(const FileDescriptor& folder, const std::string& name,
                                    const std::filesystem::path& path);

// A regular file, open for reading at offsets. A symbolic link, FIFO or device in its place is refused.
class StoredFile {
 public:
  explicit StoredFile(std::filesystem::path path);
  // `name` in `folder`; `path` is for messages.
  StoredFile(const FileDescriptor& folder, const std::string& name, std::filesystem::path path);

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return identity_.bytes; }  // when it was opened
  [[nodiscard]] const FileIdentity& identity() const noexcept { return identity_; }

  // All of `bytes`, or an error. The second returns their CRC-32C, going on from `previous`, which it takes while they
  // are still in the cache.
  void read(std::uint64_t offset, std::span<std::byte> bytes) const;
  std::uint32_t read_and_sum(std::uint64_t offset, std::span<std::byte> bytes, std::uint32_t previous = 0) const;
  // The same of bytes that no one wants.
  [[nodiscard]] std::uint32_t checksum(std::uint64_t offset, std::uint64_t bytes, std::uint32_t previous = 0) const;

 private:
  StoredFile(int folder, const char* name, std::filesystem::path path);
  std::filesystem::path path_;
  FileDescriptor descriptor_;
  FileIdentity identity_;
};

// The text of the MANIFEST in `folder`. `path`: its own, for messages.
[[nodiscard]] std::string read_manifest(const FileDescriptor& folder, const std::filesystem::path& path);

}  // namespace lockstep
