// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

namespace lockstep {

// A folder that either does not exist or is complete: it is filled beside its place and renamed.
class NewFolder {
 public:
  explicit NewFolder(const std::filesystem::path& folder);  // Throws UsageError if it exists, IoError.
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  ~NewFolder();  // without move_into_place(): nothing is left

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }  // where to write
  [[nodiscard]] const std::string& what() const noexcept { return what_; }            // for messages
  // Its files are fsynced by now. Throws IoError.
  void move_into_place();

 private:
  std::filesystem::path target_;
  std::string what_;
  std::filesystem::path path_;
};

}  // namespace lockstep
