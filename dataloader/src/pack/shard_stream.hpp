// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "lockstep/base/split.hpp"
#include "lockstep/dataloader/shard_writer.hpp"

namespace lockstep {

// The stored bytes of one column of the samples in the range, row-major; valid until the next call. Ranges come in
// order and are of a few MiB; for each one all columns are asked for in turn.
using ReadColumn = std::function<std::span<const std::byte>(Range samples, std::size_t column)>;

// What write_shards does, with samples that are only had piece by piece. Returns the bytes of all shards.
std::uint64_t write_shards_from(const std::filesystem::path& folder, std::int64_t samples,
                                std::span<const FieldSchema> fields, int shards, const ReadColumn& read);

}  // namespace lockstep
