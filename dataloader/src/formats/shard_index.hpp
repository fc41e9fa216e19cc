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
  std::uint64_t bytes = 0;               // the whole file's size …
  std::uint32_t crc32c = 0;              // … and checksum
  std::vector<std::uint64_t> offsets{};  // in the file: of each field's samples …
  std::uint64_t checksums = 0;           // … and of [samples, fields] CRC-32C, one for each field of each sample
};

// The content of index.json (docs/dataset_format.md).
struct ShardIndex {
  std::int64_t samples = 0;
  std::vector<FieldSchema> fields;
  std::vector<ShardEntry> shards;
};

inline constexpr const char* kIndexFile = "index.json";
inline constexpr const char* kChecksums = "crc32c";  // the dataset that holds them; no field has this name

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
