// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "format/manifest.hpp"
#include "read/stored_file.hpp"

namespace lockstep {

// The files of a checkpoint. All are looked at at once; each is opened when it is first read and few stay open, because
// a thousand writers made more than a process may have. The folder stays open: it may be renamed. Thread-safe.
class FileSet {
 public:
  // Throws CheckpointError naming the file that is missing, of another size or not a regular file.
  FileSet(FileDescriptor folder, const std::filesystem::path& path, std::span<const FileRecord> records);

  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  // Throws IoError, too, if it is not the file that was looked at.
  [[nodiscard]] std::shared_ptr<const StoredFile> file(std::size_t index);

 private:
  struct Entry {
    std::string name;
    std::filesystem::path path;
    FileIdentity identity;
  };
  std::shared_ptr<const StoredFile> open(const Entry& entry) const;

  FileDescriptor folder_;
  std::vector<Entry> entries_;
  std::mutex mutex_;
  std::list<std::pair<std::size_t, std::shared_ptr<const StoredFile>>> open_;  // GUARDED_BY(mutex_); last used first
};

}  // namespace lockstep
