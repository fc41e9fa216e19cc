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

void make_folders(const fs::path& folder) {
  if (fs::exists(folder)) return;  // one that is a file is found out by whoever writes into it
  const fs::path parent = fs::absolute(folder).parent_path();
  make_folders(parent);
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) throw_errno("mkdir", folder);
  fsync_path(parent);
}

}  // namespace lockstep
