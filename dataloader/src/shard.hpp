// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "mapped_file.hpp"
#include "shard_index.hpp"

namespace lockstep {

// One shard of an open data set: mapped and checked at its first use, because a checksum at open would read the whole
// data set before the first step. Thread-safe.
class Shard {
 public:
  // Throws DataError if the file is missing or of another size than the index says.
  // `fields`: those whose payload is wanted; they outlive this.
  Shard(std::filesystem::path path, ShardEntry entry, std::span<const FieldSchema> fields);

  // The stored samples of field `field`, row-major. Throws DataError if the file is damaged or not what the index says.
  [[nodiscard]] const std::byte* payload(std::size_t field) const;

 private:
  void open() const;

  const std::filesystem::path path_;
  const ShardEntry entry_;
  const std::span<const FieldSchema> fields_;
  // A mutex, not std::call_once: that hangs under ThreadSanitizer when the first call throws (GCC bug 66146).
  mutable std::mutex mutex_;
  mutable std::optional<MappedFile> file_;          // guarded by mutex_
  mutable std::vector<const std::byte*> payloads_;  // guarded by mutex_; of each field, empty until opened
};

}  // namespace lockstep
