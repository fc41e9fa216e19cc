// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

// Bytes of a blob; valid while this and the blob live.
struct BlobView {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> keeps{};  // holds a cached piece in place; null: the blob itself holds it
};

// A file that is only read, on a disk of this host or behind a URL. Thread-safe.
class Blob {
 public:
  virtual ~Blob() = default;
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;  // path or URL, for messages
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;       // bytes
  // Local. Blocks until the bytes are here. Throws DataError if they are not all inside the blob, IoError if they
  // cannot be had (disk, network, after all retries).
  [[nodiscard]] virtual BlobView view(std::uint64_t offset, std::uint64_t bytes) const = 0;
  // Local. For a caller who found these bytes damaged: gets them again from where they came from, so that the next
  // view() shows the new ones. False: there is no other copy (a local file).
  [[nodiscard]] virtual bool refetch(std::uint64_t offset, std::uint64_t bytes) const = 0;
  // Local. A hint that these bytes will be wanted soon; returns at once, and does nothing where enough has been fetched
  // ahead. Throws DataError if they are not all inside the blob.
  virtual void prefetch(std::uint64_t /*offset*/, std::uint64_t /*bytes*/) const {}
};

// A folder of blobs: a local one, or what stands below a URL. Thread-safe.
class BlobStore {
 public:
  virtual ~BlobStore() = default;
  [[nodiscard]] virtual const std::string& location() const noexcept = 0;
  // Local. `name`: relative, "shard-00000.tar" or "part/0.mds". Throws DataError if there is none or if the name
  // leaves the store ("..", "/"), IoError.
  [[nodiscard]] virtual std::shared_ptr<const Blob> open(std::string_view name) const = 0;
  [[nodiscard]] virtual bool contains(std::string_view name) const = 0;
  // The names of the files directly in the store, sorted. A store behind http(s) cannot be listed: throws UsageError
  // that asks for an index or for shard names with a brace range.
  [[nodiscard]] virtual std::vector<std::string> list() const = 0;
};

// How files behind URLs are fetched and kept. Unused for local folders.
struct RemoteOptions {
  std::string cache_folder{};                 // default: $XDG_CACHE_HOME/lockstep or ~/.cache/lockstep
  std::uint64_t cache_bytes = 16ULL << 30;    // hard limit of what all processes of this host keep in cache_folder
  std::chrono::milliseconds timeout{10'000};  // without a byte, before an attempt counts as failed
  int attempts = 8;                           // with exponential backoff and jitter between them
};

// Local. `location`: a path, file://…, http(s)://…, or s3://bucket/prefix (signed with AWS_ACCESS_KEY_ID and
// AWS_SECRET_ACCESS_KEY where set, AWS_ENDPOINT_URL and AWS_REGION honoured; anonymous otherwise).
// Throws DataError for a local folder that is missing, UsageError for an unknown scheme.
[[nodiscard]] std::shared_ptr<const BlobStore> open_store(const std::string& location,
                                                          const RemoteOptions& options = {});

}  // namespace lockstep
