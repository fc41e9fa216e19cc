// SPDX-License-Identifier: Apache-2.0
#include "read/file_set.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "lockstep/base/error.hpp"
#include "read/damage.hpp"

namespace lockstep {
namespace {

constexpr std::size_t kOpenFiles = 64;  // of the 1024 that a process has by default

}  // namespace

FileSet::FileSet(FileDescriptor folder, const std::filesystem::path& path, std::span<const FileRecord> records)
    : folder_(std::move(folder)) {
  entries_.reserve(records.size());
  for (const FileRecord& record : records) {
    Entry entry{.name = record.name, .path = path / record.name, .identity = {}};
    entry.identity = identify(folder_, entry.name, entry.path);
    if (entry.identity.bytes != record.bytes) {
      throw CheckpointError(
          {.what = fmt::format("read {}", entry.path.string()),
           .why = fmt::format("it has {} bytes and should have {}", entry.identity.bytes, record.bytes),
           .fix = kUseAnother});
    }
    entries_.push_back(std::move(entry));
  }
}

std::shared_ptr<const StoredFile> FileSet::file(std::size_t index) {
  const std::scoped_lock lock(mutex_);
  const auto found = std::ranges::find(open_, index, [](const auto& file) { return file.first; });
  if (found != open_.end()) {
    open_.splice(open_.begin(), open_, found);
    return open_.front().second;
  }
  open_.emplace_front(index, open(entries_[index]));
  if (open_.size() > kOpenFiles) open_.pop_back();  // who reads it still has it
  return open_.front().second;
}

std::shared_ptr<const StoredFile> FileSet::open(const Entry& entry) const {
  auto file = std::make_shared<const StoredFile>(folder_, entry.name, entry.path);
  if (file->identity() != entry.identity) {
    throw IoError({.what = fmt::format("read {}", entry.path.string()),
                   .why = "it is another file, or of another size, than when the checkpoint was opened"});
  }
  return file;
}

}  // namespace lockstep
