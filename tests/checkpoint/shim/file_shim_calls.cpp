// SPDX-License-Identifier: Apache-2.0
// The C library's functions that change files, in this library's place of them.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>

#include "file_shim_state.hpp"

namespace lockstep::shim {
namespace {

// `system` makes the call; its result counts as a failure below 0.
template <class System>
long make(Call call, System system) {
  Decision decision(std::move(call));
  if (decision.fails()) return -1;
  const long result = system();
  decision.done(result);
  return result;
}

bool exists(const std::string& path) {
  struct stat status {};
  const int error = errno;
  const bool there = syscall(SYS_newfstatat, AT_FDCWD, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  errno = error;
  return there;
}

// Opening to write counts as a call: it creates, cuts, or (without a record) does neither.
int open_at(int folder, const char* path, int flags, mode_t mode) {
  const auto open = [&] { return syscall(SYS_openat, folder, path, flags, mode); };
  if ((flags & O_ACCMODE) == O_RDONLY && (flags & (O_CREAT | O_TRUNC)) == 0) return static_cast<int>(open());
  const std::string full = path_of(folder, path);
  if (!exists(full)) return static_cast<int>(make({.name = "open", .kind = Kind::create, .path = full}, open));
  if ((flags & O_TRUNC) == 0) {  // changes nothing: a record of it is an allocation of nothing
    return static_cast<int>(make({.name = "open", .kind = Kind::allocate, .path = full}, open));
  }
  return static_cast<int>(make({.name = "open", .kind = Kind::truncate, .path = full}, open));
}

// Pieces that belong together are made one by one, each a call.
ssize_t write_at(const char* name, int file, const void* bytes, std::size_t count, off_t offset, bool moves) {
  Call call{
      .name = name, .kind = Kind::write, .path = path_of(file), .offset = offset, .length = count, .bytes = bytes};
  if (moves) call.offset = std::max(0L, syscall(SYS_lseek, file, 0, SEEK_CUR));
  Decision decision(std::move(call));
  if (decision.fails()) return -1;
  const long result =
      moves ? syscall(SYS_write, file, bytes, count) : syscall(SYS_pwrite64, file, bytes, count, offset);
  decision.call().length = static_cast<std::size_t>(std::max(result, 0L));
  decision.done(result);
  return result;
}

ssize_t write_parts(const char* name, int file, const iovec* parts, int count, off_t offset, bool moves) {
  ssize_t all = 0;
  for (int part = 0; part < count; ++part) {
    const ssize_t written = write_at(name, file, parts[part].iov_base, parts[part].iov_len, offset + all, moves);
    if (written < 0) return all > 0 ? all : written;
    all += written;
    if (static_cast<std::size_t>(written) < parts[part].iov_len) break;
  }
  return all;
}

int unlink_at(const char* name, int folder, const char* path, int flags) {
  return static_cast<int>(make({.name = name, .kind = Kind::unlink, .path = path_of(folder, path)},
                               [&] { return syscall(SYS_unlinkat, folder, path, flags); }));
}

int rename_at(int from, const char* old_path, int to, const char* new_path, unsigned flags) {
  return static_cast<int>(make(
      {.name = "rename", .kind = Kind::rename, .path = path_of(from, old_path), .other_path = path_of(to, new_path)},
      [&] { return syscall(SYS_renameat2, from, old_path, to, new_path, flags); }));
}

int allocate(const char* name, int file, int mode, off_t offset, off_t bytes) {
  return static_cast<int>(make({.name = name,
                                .kind = Kind::allocate,
                                .path = path_of(file),
                                .offset = offset,
                                .length = (mode & FALLOC_FL_KEEP_SIZE) != 0 ? 0 : static_cast<std::size_t>(bytes)},
                               [&] { return syscall(SYS_fallocate, file, mode, offset, bytes); }));
}

}  // namespace
}  // namespace lockstep::shim

using lockstep::shim::Kind;
using lockstep::shim::make;
using lockstep::shim::path_of;
namespace shim = lockstep::shim;

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = __OPEN_NEEDS_MODE(flags) ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return shim::open_at(AT_FDCWD, path, flags, mode);
}
int openat(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = __OPEN_NEEDS_MODE(flags) ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return shim::open_at(folder, path, flags, mode);
}
int creat(const char* path, mode_t mode) { return shim::open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode); }

ssize_t write(int file, const void* bytes, size_t count) {
  return shim::write_at("write", file, bytes, count, 0, true);
}
ssize_t pwrite(int file, const void* bytes, size_t count, off_t offset) {
  return shim::write_at("pwrite", file, bytes, count, offset, false);
}
ssize_t writev(int file, const iovec* parts, int count) {
  return shim::write_parts("writev", file, parts, count, 0, true);
}
ssize_t pwritev(int file, const iovec* parts, int count, off_t offset) {
  return shim::write_parts("pwritev", file, parts, count, offset, false);
}

int ftruncate(int file, off_t bytes) noexcept {
  return static_cast<int>(make({.name = "ftruncate", .kind = Kind::truncate, .path = path_of(file), .offset = bytes},
                               [&] { return syscall(SYS_ftruncate, file, bytes); }));
}
int truncate(const char* path, off_t bytes) noexcept {
  return static_cast<int>(
      make({.name = "truncate", .kind = Kind::truncate, .path = path_of(AT_FDCWD, path), .offset = bytes},
           [&] { return syscall(SYS_truncate, path, bytes); }));
}
int fallocate(int file, int mode, off_t offset, off_t bytes) {
  return shim::allocate("fallocate", file, mode, offset, bytes);
}
int posix_fallocate(int file, off_t offset, off_t bytes) {  // returns the error
  return shim::allocate("posix_fallocate", file, 0, offset, bytes) == 0 ? 0 : errno;
}

int fsync(int file) {
  return static_cast<int>(
      make({.name = "fsync", .kind = Kind::sync, .path = path_of(file)}, [&] { return syscall(SYS_fsync, file); }));
}
int fdatasync(int file) {
  return static_cast<int>(make({.name = "fdatasync", .kind = Kind::sync, .path = path_of(file)},
                               [&] { return syscall(SYS_fdatasync, file); }));
}

int sync_file_range(int file, off64_t offset, off64_t bytes, unsigned flags) {  // promises nothing: no sync
  return static_cast<int>(make({.name = "sync_file_range", .kind = Kind::allocate, .path = path_of(file)},
                               [&] { return syscall(SYS_sync_file_range, file, offset, bytes, flags); }));
}

int mkdirat(int folder, const char* path, mode_t mode) noexcept {
  return static_cast<int>(make({.name = "mkdir", .kind = Kind::make_folder, .path = path_of(folder, path)},
                               [&] { return syscall(SYS_mkdirat, folder, path, mode); }));
}
int mkdir(const char* path, mode_t mode) noexcept { return mkdirat(AT_FDCWD, path, mode); }
int symlink(const char* target, const char* path) noexcept {
  return static_cast<int>(make({.name = "symlink", .kind = Kind::create, .path = path_of(AT_FDCWD, path)},
                               [&] { return syscall(SYS_symlinkat, target, AT_FDCWD, path); }));
}

int renameat2(int from, const char* old_path, int to, const char* new_path, unsigned flags) noexcept {
  return shim::rename_at(from, old_path, to, new_path, flags);
}
int renameat(int from, const char* old_path, int to, const char* new_path) noexcept {
  return shim::rename_at(from, old_path, to, new_path, 0);
}
int rename(const char* old_path, const char* new_path) noexcept {
  return shim::rename_at(AT_FDCWD, old_path, AT_FDCWD, new_path, 0);
}

int unlinkat(int folder, const char* path, int flags) noexcept {
  return shim::unlink_at("unlinkat", folder, path, flags);
}
int unlink(const char* path) noexcept { return shim::unlink_at("unlink", AT_FDCWD, path, 0); }
int rmdir(const char* path) noexcept { return shim::unlink_at("rmdir", AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char* path) noexcept {
  struct stat status {};
  const bool folder =
      syscall(SYS_newfstatat, AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
  return shim::unlink_at("remove", AT_FDCWD, path, folder ? AT_REMOVEDIR : 0);
}

int flock(int file, int operation) noexcept {
  if (shim::locks_fail()) return errno = ENOLCK, -1;
  return static_cast<int>(syscall(SYS_flock, file, operation));
}
int fcntl(int file, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  const bool lock = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW;
  if (lock && shim::locks_fail()) return errno = ENOLCK, -1;
  return static_cast<int>(syscall(SYS_fcntl, file, command, argument));
}

// The same on this architecture, where off_t has 64 bits.
int open64(const char* path, int flags, ...) __attribute__((alias("open")));
int openat64(int folder, const char* path, int flags, ...) __attribute__((alias("openat")));
int creat64(const char* path, mode_t mode) __attribute__((alias("creat")));
ssize_t pwrite64(int file, const void* bytes, size_t count, off64_t offset) __attribute__((alias("pwrite")));
ssize_t pwritev64(int file, const iovec* parts, int count, off64_t offset) __attribute__((alias("pwritev")));
int ftruncate64(int file, off64_t bytes) noexcept __attribute__((alias("ftruncate")));
int truncate64(const char* path, off64_t bytes) noexcept __attribute__((alias("truncate")));
int fallocate64(int file, int mode, off64_t offset, off64_t bytes) __attribute__((alias("fallocate")));
int posix_fallocate64(int file, off64_t offset, off64_t bytes) __attribute__((alias("posix_fallocate")));
int fcntl64(int file, int command, ...) __attribute__((alias("fcntl")));
}
