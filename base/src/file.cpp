// SPDX-License-Identifier: Apache-2.0
#include "lockstep/base/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(std::string_view operation, const fs::path& path) {
  const int code = errno;
  throw IoError({.what = fmt::format("{} {}", operation, path.string()),
                 .why = fmt::format("{} (errno {})", std::generic_category().message(code), code)});
}

FileDescriptor open_file(const fs::path& path, int flags) {
  FileDescriptor file(::open(path.c_str(), flags | O_CLOEXEC, 0644));
  if (!file) fail("open", path);
  return file;
}

std::string read_all(int descriptor, const fs::path& path) {
  std::string text;
  std::array<char, 65536> block;
  for (;;) {
    const auto count = ::read(descriptor, block.data(), block.size());
    if (count == 0) return text;
    if (count > 0) {
      text.append(block.data(), static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      fail("read", path);
    }
  }
}

void write_text(int descriptor, std::string_view text, const fs::path& path) {
  write_all(descriptor, std::as_bytes(std::span(text)), path);
}

// Removes the file unless it got its final name.
struct TemporaryFile {
  fs::path path;
  bool renamed = false;
  ~TemporaryFile() {
    if (!renamed) ::unlink(path.c_str());
  }
};

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  FileDescriptor old(std::exchange(descriptor_, other.release()));
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

int FileDescriptor::release() noexcept { return std::exchange(descriptor_, -1); }

std::string read_file(const fs::path& path) {
  const auto file = open_file(path, O_RDONLY);
  return read_all(file.get(), path);
}

void write_file_durably(const fs::path& path, std::string_view text) {
  // A fixed name: what a killed process left is overwritten by the next attempt.
  TemporaryFile temporary{fs::path(path) += ".tmp"};
  {
    const auto file = open_file(temporary.path, O_WRONLY | O_CREAT | O_TRUNC);
    write_text(file.get(), text, temporary.path);
    if (::fsync(file.get()) != 0) fail("fsync", temporary.path);
  }
  if (::rename(temporary.path.c_str(), path.c_str()) != 0) fail("rename to", path);
  temporary.renamed = true;
  fsync_path(path.has_parent_path() ? path.parent_path() : ".");
}

void fsync_path(const fs::path& path) {
  const auto file = open_file(path, O_RDONLY);
  if (::fsync(file.get()) != 0) fail("fsync", path);
}

void write_all(int descriptor, std::span<const std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const auto count = ::write(descriptor, bytes.data(), bytes.size());
    if (count >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      fail("write", path);
    }
  }
}

FileLock FileLock::try_lock(const fs::path& path, std::string_view note) {
  auto file = open_file(path, O_RDWR | O_CREAT);
  FileLock lock;
  if (::flock(file.get(), LOCK_EX | LOCK_NB) == 0) {
    if (::ftruncate(file.get(), 0) != 0) fail("truncate", path);
    write_text(file.get(), note, path);
    lock.descriptor_ = std::move(file);
  } else if (errno == EWOULDBLOCK) {
    lock.other_holder_ = read_all(file.get(), path);
  } else {
    fail("lock", path);
  }
  return lock;
}

}  // namespace lockstep
