// SPDX-License-Identifier: Apache-2.0
#include "write/small_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"

namespace lockstep {

namespace fs = std::filesystem;

void throw_errno(const char* call, const fs::path& path, int code) {
  throw IoError({.what = fmt::format("{} {}", call, path.string()),
                 .why = fmt::format("{} (errno {})", std::system_category().message(code), code)});
}

void write_new_file(const fs::path& path, std::span<const std::byte> bytes) {
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) throw_errno("open", path);
  write_all(file.get(), bytes, path);
  if (::fsync(file.get()) != 0) throw_errno("fsync", path);
}

void replace_file(const fs::path& path, std::span<const std::byte> bytes) {
  fs::path unfinished = path;
  unfinished += ".tmp";
  if (::unlink(unfinished.c_str()) != 0 && errno != ENOENT) throw_errno("unlink", unfinished);
  write_new_file(unfinished, bytes);
  if (::rename(unfinished.c_str(), path.c_str()) != 0) throw_errno("rename", unfinished);
  fsync_path(path.parent_path());
}

void make_folders(const fs::path& folder) {
  const fs::path parent = fs::absolute(folder).parent_path();
  int result = ::mkdir(folder.c_str(), 0700);
  if (result != 0 && errno == ENOENT && parent != folder) {
    make_folders(parent);
    result = ::mkdir(folder.c_str(), 0700);
  }
  if (result != 0 && errno == EEXIST) return;  // one that is a file is found out by whoever writes into it
  if (result != 0) throw_errno("mkdir", folder);
  fsync_path(parent);
}

bool is_taken(const fs::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) return true;
  if (errno != ENOENT && errno != ENOTDIR) throw_errno("look at", path);
  return false;
}

}  // namespace lockstep
