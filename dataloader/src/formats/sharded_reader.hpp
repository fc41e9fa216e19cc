// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/dataloader/blob.hpp"
#include "lockstep/dataloader/records.hpp"

namespace lockstep {

// What an opened data set of shards is: all that its reader tells without reading a sample.
struct ShardLayout {
  std::vector<std::string> names;     // of the shards, for messages
  std::vector<std::int64_t> samples;  // of each shard, none negative
  std::vector<StoredField> fields;    // those that are read
  std::string identity;               // text that changes when the content does, as far as the index tells
};

// What the readers of sharded formats share.
class ShardedReader : public RecordReader {
 public:
  // `what` names the data set in messages. Throws DataError if there are more samples than can be counted.
  ShardedReader(const std::string& what, ShardLayout layout);

  [[nodiscard]] std::int64_t samples() const noexcept override { return ends_.empty() ? 0 : ends_.back(); }
  [[nodiscard]] const std::vector<std::int64_t>& shard_samples() const noexcept override { return layout_.samples; }
  [[nodiscard]] std::string fingerprint() const override;
  [[nodiscard]] const std::vector<StoredField>& fields() const noexcept override { return layout_.fields; }
  [[nodiscard]] std::string describe(std::int64_t sample) const override;  // "shard.00003.mds, sample 17"

 protected:
  struct Place {
    std::size_t shard = 0;
    std::int64_t row = 0;
  };
  [[nodiscard]] Place locate(std::int64_t sample) const;  // Throws UsageError if there is no such sample.

 private:
  const ShardLayout layout_;
  std::vector<std::int64_t> ends_;  // the number of the sample after each shard's last
};

// Empties `record` for `fields` fields; keeps its memory.
void clear(Record& record, std::size_t fields);

// The places in `all` of the fields in `wanted`, in its order; all of them where it is empty. Throws DataError.
[[nodiscard]] std::vector<std::size_t> select_fields(const std::string& what, const std::vector<std::string>& all,
                                                     const std::vector<std::string>& wanted);

// The blob is a file on this host; then its name is its path.
[[nodiscard]] bool is_local(const BlobStore& store) noexcept;

[[nodiscard]] std::string hash_of_text(std::string_view text);  // 16 hex digits: FNV-1a, 64 bits

}  // namespace lockstep
