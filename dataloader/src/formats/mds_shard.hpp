// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "formats/mds_columns.hpp"
#include "lockstep/dataloader/blob.hpp"

namespace lockstep {

struct MdsFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::string algorithm{};  // of the hash that is checked; empty: none
  std::string hash{};       // hex digits
};

struct MdsEntry {
  std::int64_t samples = 0;
  MdsFile raw;
  std::optional<MdsFile> zip{};  // if it is stored compressed by zstd

  [[nodiscard]] const MdsFile& stored() const noexcept { return zip ? *zip : raw; }
};

// A shard that was checked, uncompressed:
//   samples (u32), offsets of the samples and of the end (samples + 1 × u32), columns as JSON, the samples.
struct MdsShard {
  std::shared_ptr<const Blob> blob;  // these two hold the bytes
  std::shared_ptr<const void> keeps;
  std::span<const std::byte> bytes;
  std::uint64_t held_bytes = 0;  // see ShardCache

  [[nodiscard]] std::span<const std::byte> sample(std::int64_t row) const noexcept;
};

// Whether hashes of this name (Python's hashlib's) can be checked.
[[nodiscard]] bool is_known_hash(const std::string& algorithm);

// Checks size and number of samples, reading the beginning of the file alone. Throws DamagedSample.
void check_count(const Blob& blob, const MdsEntry& entry);

// Local. Checks the file against its hash and its form against `entry` and `columns`. What is compressed goes to an
// unlinked file in the temporary folder ($TMPDIR). Damaged bytes are fetched again once. Throws DamagedSample, IoError.
[[nodiscard]] std::shared_ptr<const MdsShard> open_mds_shard(std::shared_ptr<const Blob> blob, const MdsEntry& entry,
                                                             const std::vector<MdsColumn>& columns);

// The columns in a shard's header or its part of the index. Throws nlohmann::json::exception (by its base,
// std::exception) if they are not there.
[[nodiscard]] std::vector<MdsColumn> parse_columns(std::string_view json_text);

}  // namespace lockstep
