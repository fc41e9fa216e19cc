// SPDX-License-Identifier: Apache-2.0
#include "interchange/export_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <random>
#include <system_error>
#include <utility>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

void require_absent(const fs::path& file) {
  if (fs::exists(fs::symlink_status(file))) {
    throw UsageError({.what = fmt::format("write {}", file.string()),
                      .why = "it exists",
                      .fix = "remove it, or choose another name"});
  }
}

}  // namespace

ExportFile::ExportFile(fs::path name) : name_(std::move(name)) {
  require_absent(name_);
  fs::path temporary = name_;
  temporary += fmt::format(".tmp-{}-{:08x}", ::getpid(), std::random_device{}());
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  descriptor_ = FileDescriptor(::open(temporary.c_str(), kFlags, 0600));
  if (!descriptor_) {
    throw IoError(
        {.what = fmt::format("create {}", temporary.string()), .why = std::generic_category().message(errno)});
  }
  temporary_ = std::move(temporary);
}

ExportFile::~ExportFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void ExportFile::append(std::span<const std::byte> bytes) {
  write_all(descriptor_.get(), bytes, temporary_);
  position_ += bytes.size();
}

void ExportFile::finish() {
  fsync_path(temporary_);
  require_absent(name_);
  fs::rename(temporary_, name_);
  temporary_.clear();
  fsync_path(fs::absolute(name_).parent_path());
}

}  // namespace lockstep
