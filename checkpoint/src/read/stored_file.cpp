// SPDX-License-Identifier: Apache-2.0
#include "read/stored_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "failure.hpp"
#include "format/manifest.hpp"
#include "lockstep/base/crc32c.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLargestManifest = 1 << 30;  // a million tensors need a fifth of it
constexpr std::size_t kUnit = 64 << 10;              // read at once and then summed: stays in the second-level cache

// What a damaged, removed or replaced file answers. Any other error says nothing about the file.
bool is_the_files_fault(int code) {
  constexpr std::array kCodes{ENOENT, ENOTDIR, EISDIR, ELOOP, ENXIO, ENODEV, EIO, ENODATA, EBADMSG, EUCLEAN, EOVERFLOW};
  return std::ranges::find(kCodes, code) != kCodes.end();
}

[[noreturn]] void fail(std::string_view operation, const fs::path& path, const std::string& why) {
  throw IoError({.what = fmt::format("{} {}", operation, path.string()), .why = why});
}

[[noreturn]] void cannot_look(std::string_view operation, const fs::path& path, int code) {
  throw CannotLook({.what = fmt::format("{} {}", operation, path.string()),
                    .why = fmt::format("{} (errno {})", std::generic_category().message(code), code),
                    .fix = "check its permissions, the limits of this process and the file system"});
}

[[noreturn]] void fail_with_errno(std::string_view operation, const fs::path& path) {
  const int code = errno;
  if (!is_the_files_fault(code)) cannot_look(operation, path, code);
  fail(operation, path, fmt::format("{} (errno {})", std::generic_category().message(code), code));
}

FileIdentity checked_identity(const struct stat& status, const fs::path& path) {
  if (!S_ISREG(status.st_mode)) fail("open", path, "it is not a regular file");
  return {.device = status.st_dev, .inode = status.st_ino, .bytes = static_cast<std::uint64_t>(status.st_size)};
}

}  // namespace

FileDescriptor open_folder(const fs::path& path) {
  FileDescriptor folder(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  if (folder) return folder;
  const int code = errno;
  if (code != ENOENT && code != ENOTDIR) cannot_look("open", path, code);
  fail_with_errno("open", path);
}

FileIdentity identify(const FileDescriptor& folder, const std::string& name, const fs::path& path) {
  struct stat status {};
  if (::fstatat(folder.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) fail_with_errno("open", path);
  return checked_identity(status, path);
}

StoredFile::StoredFile(fs::path path) : StoredFile(AT_FDCWD, path.c_str(), path) {}

StoredFile::StoredFile(const FileDescriptor& folder, const std::string& name, fs::path path)
    : StoredFile(folder.get(), name.c_str(), std::move(path)) {}

StoredFile::StoredFile(int folder, const char* name, fs::path path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a FIFO would wait for its writer.
  descriptor_ = FileDescriptor(::openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!descriptor_) fail_with_errno("open", path_);
  struct stat status {};
  if (::fstat(descriptor_.get(), &status) != 0) fail_with_errno("stat", path_);
  identity_ = checked_identity(status, path_);
}

void StoredFile::read(std::uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t got = ::pread(descriptor_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_with_errno("read", path_);
    if (got == 0) fail("read", path_, fmt::format("it ended at byte {}", offset));
    offset += static_cast<std::uint64_t>(got);
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
}

std::uint32_t StoredFile::read_and_sum(std::uint64_t offset, std::span<std::byte> bytes, std::uint32_t previous) const {
  while (!bytes.empty()) {
    const auto unit = bytes.first(std::min(bytes.size(), kUnit));
    read(offset, unit);
    previous = crc32c(unit, previous);
    offset += unit.size();
    bytes = bytes.subspan(unit.size());
  }
  return previous;
}

std::uint32_t StoredFile::checksum(std::uint64_t offset, std::uint64_t bytes, std::uint32_t previous) const {
  std::array<std::byte, kUnit> buffer;
  while (bytes > 0) {
    const auto unit = std::span(buffer).first(std::min<std::uint64_t>(bytes, kUnit));
    previous = read_and_sum(offset, unit, previous);
    offset += unit.size();
    bytes -= unit.size();
  }
  return previous;
}

std::string read_manifest(const FileDescriptor& folder, const fs::path& path) {
  const StoredFile file(folder, kManifestName, path);
  if (file.bytes() > kLargestManifest) fail("read", path, fmt::format("it has {} bytes", file.bytes()));
  std::string text(file.bytes(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace lockstep
