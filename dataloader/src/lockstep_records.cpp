// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <string_view>
#include <utility>

#include "formats.hpp"
#include "shard.hpp"
#include "shard_cache.hpp"
#include "shard_index.hpp"
#include "sharded_reader.hpp"

namespace lockstep {
namespace {

// Of a remote store's cache, which is kept from giving the shards in use away.
constexpr std::uint64_t kHeldBytes = std::uint64_t{4} << 30;

class LockstepReader final : public ShardedReader {
 public:
  LockstepReader(const std::string& what, ShardLayout layout, std::shared_ptr<const BlobStore> store, ShardIndex index,
                 std::string fingerprint)
      : ShardedReader(what, std::move(layout)),
        store_(std::move(store)),
        index_(std::move(index)),
        fingerprint_(std::move(fingerprint)),
        shards_(index_.shards.size(), kHeldBytes, [this](std::size_t shard) {
          const auto& entry = index_.shards[shard];
          return open_shard(store_->open(entry.file), is_local(*store_), entry, index_.fields);
        }) {}

  [[nodiscard]] std::string fingerprint() const override { return fingerprint_; }
  [[nodiscard]] bool checksummed() const noexcept override { return true; }

  void read(std::int64_t sample, Record& record) const override {
    const auto [place, row] = locate(sample);
    auto shard = shards_.get(place);
    clear(record, index_.fields.size());
    for (std::size_t i = 0; i < index_.fields.size(); ++i) {
      const auto bytes = sample_bytes(index_.fields[i]);
      record.fields[i] = {shard->payloads[i] + static_cast<std::uint64_t>(row) * bytes, bytes};
    }
    record.keeps.push_back(std::move(shard));
  }

 private:
  const std::shared_ptr<const BlobStore> store_;
  const ShardIndex index_;  // with the fields that are read
  const std::string fingerprint_;
  mutable ShardCache<Shard> shards_;
};

}  // namespace

std::unique_ptr<const RecordReader> open_lockstep(std::shared_ptr<const BlobStore> store,
                                                  const RecordOptions& options) {
  const std::string what = fmt::format("data set {}", store->location());
  const auto blob = store->open(kIndexFile);
  const auto view = blob->view(0, blob->size());
  auto index = parse_index({reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()},
                           fmt::format("data set index {}", blob->name()));
  auto fingerprint = fingerprint_of(index);  // with all fields: what the file says
  std::vector<std::string> names;
  std::ranges::transform(index.fields, std::back_inserter(names), &FieldSchema::name);
  ShardLayout layout;
  std::vector<FieldSchema> chosen;
  for (const auto i : select_fields(what, names, options.fields)) {
    const auto& field = chosen.emplace_back(index.fields[i]);
    layout.fields.push_back({.name = field.name,
                             .encoding = "raw",
                             .dtype = field.dtype,
                             .shape = field.shape,
                             .delivered = field.delivered,
                             .scale = field.scale,
                             .offset = field.offset});
  }
  index.fields = std::move(chosen);
  for (const auto& entry : index.shards) {
    layout.names.push_back(entry.file);
    layout.samples.push_back(entry.samples);
    if (is_local(*store)) check_size(*store->open(entry.file), entry);
  }
  return std::make_unique<LockstepReader>(what, std::move(layout), std::move(store), std::move(index),
                                          std::move(fingerprint));
}

}  // namespace lockstep
