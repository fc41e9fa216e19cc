// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace lockstep {

// A file descriptor with one owner. Null state: -1.
class FileDescriptor {
 public:
  FileDescriptor() noexcept = default;
  explicit FileDescriptor(int descriptor) noexcept : descriptor_(descriptor) {}
  FileDescriptor(FileDescriptor&& other) noexcept : descriptor_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  [[nodiscard]] int get() const noexcept { return descriptor_; }
  [[nodiscard]] explicit operator bool() const noexcept { return descriptor_ >= 0; }
  int release() noexcept;

 private:
  int descriptor_ = -1;
};

// All of these throw IoError with the path and errno's text.
[[nodiscard]] std::string read_file(const std::filesystem::path& path);
// Writes a temporary file beside `path`, fsyncs it, renames it over `path` and fsyncs the folder.
void write_file_durably(const std::filesystem::path& path, std::string_view text);
void fsync_path(const std::filesystem::path& path);  // a file or a folder
void write_all(int descriptor, std::span<const std::byte> bytes, const std::filesystem::path& path);

// An advisory lock (flock) on a file, held while this lives. The kernel drops it when the process dies.
class FileLock {
 public:
  // Creates the file if need be. `holder` is empty on success; else what the file says of who has it.
  static FileLock try_lock(const std::filesystem::path& path, std::string_view note);
  [[nodiscard]] bool held() const noexcept { return static_cast<bool>(descriptor_); }
  [[nodiscard]] const std::string& other_holder() const noexcept { return other_holder_; }

 private:
  FileDescriptor descriptor_;
  std::string other_holder_;
};

}  // namespace lockstep
