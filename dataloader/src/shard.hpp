// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lockstep/dataloader/blob.hpp"
#include "shard_index.hpp"

namespace lockstep {

// One shard of an open data set, checked.
struct Shard {
  std::shared_ptr<const Blob> blob;
  BlobView file;                           // the whole of it
  std::vector<const std::byte*> payloads;  // of each field: the stored samples, row-major
  std::uint64_t held_bytes = 0;            // in the cache of a remote store; see ShardCache
};

// Throws DataError if the blob is of another size than the index says.
void check_size(const Blob& blob, const ShardEntry& entry);

// Local. Checks the whole file against the index and finds the payload of `fields` in it; `local`: the blob's name is a
// path. Damaged bytes are fetched again once. Throws DamagedSample, IoError.
[[nodiscard]] std::shared_ptr<const Shard> open_shard(std::shared_ptr<const Blob> blob, bool local,
                                                      const ShardEntry& entry, std::span<const FieldSchema> fields);

}  // namespace lockstep
