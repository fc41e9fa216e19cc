// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/dataloader/shard_writer.hpp"

namespace lockstep {

struct ShardEntry {
  std::string file;  // a name in the data set's folder
  std::int64_t samples = 0;
  std::uint64_t bytes = 0;   // the whole file's size …
  std::uint32_t crc32c = 0;  // … and checksum
};

// The content of index.json (docs/dataset_format.md).
struct ShardIndex {
  std::int64_t samples = 0;
  std::vector<FieldSchema> fields;
  std::vector<ShardEntry> shards;
};

inline constexpr const char* kIndexFile = "index.json";

[[nodiscard]] std::string fingerprint_of(const ShardIndex& index);  // 16 hex digits
[[nodiscard]] std::string to_json_text(const ShardIndex& index);

// Local. Throws DataError naming folder or file: missing, not JSON, another schema_version, inconsistent.
[[nodiscard]] ShardIndex read_index(const std::filesystem::path& folder);
// The same of the content of an index; `what` names it in messages.
[[nodiscard]] ShardIndex parse_index(std::string_view text, const std::string& what);

// Why a field cannot be stored or delivered; empty if it can.
[[nodiscard]] std::string schema_problem(const FieldSchema& schema);
[[nodiscard]] std::uint64_t sample_bytes(const FieldSchema& schema);  // as stored, of a schema without a problem

}  // namespace lockstep
