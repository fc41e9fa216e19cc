// SPDX-License-Identifier: Apache-2.0
#include "pack/new_folder.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <system_error>

#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

void check(const std::error_code& error, const char* call, const fs::path& path) {
  if (error) {
    throw IoError({.what = fmt::format("{} {}", call, path.string()), .why = error.message()});
  }
}

}  // namespace

NewFolder::NewFolder(const fs::path& folder) {
  std::error_code error;
  target_ = fs::absolute(folder, error).lexically_normal();
  check(error, "find", folder);
  if (!target_.has_filename()) {
    target_ = target_.parent_path();  // "train/" is "train"
  }
  what_ = fmt::format("write data set {}", target_.string());
  if (fs::exists(fs::symlink_status(target_, error))) {
    throw UsageError({.what = what_, .why = "it exists", .fix = "remove it, or choose another folder"});
  }
  path_ = fmt::format("{}.tmp-{}", target_.string(), ::getpid());
  fs::remove_all(path_, error);  // left by a killed process that had our process id
  check(error, "remove", path_);
  fs::create_directories(path_, error);
  check(error, "create folder", path_);
}

NewFolder::~NewFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);  // does nothing after move_into_place
}

void NewFolder::move_into_place() {
  fsync_path(path_);
  std::error_code error;
  fs::rename(path_, target_, error);
  check(error, "rename to", target_);
  fsync_path(target_.parent_path());
}

}  // namespace lockstep
