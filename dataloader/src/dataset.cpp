// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/dataset.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

#include "convert.hpp"
#include "lockstep/base/error.hpp"
#include "shard.hpp"
#include "shard_cache.hpp"
#include "shard_index.hpp"

namespace lockstep {
namespace {

constexpr std::array<std::string_view, 2> kFields{"data", "target"};

// The index with its fields in the order of kFields.
ShardIndex with_ordered_fields(const std::filesystem::path& folder, ShardIndex index) {
  std::ranges::sort(index.fields, {}, &FieldSchema::name);
  if (!std::ranges::equal(index.fields, kFields, {}, &FieldSchema::name)) {
    std::vector<std::string> names;
    std::ranges::transform(index.fields, std::back_inserter(names), &FieldSchema::name);
    throw DataError(
        {.what = fmt::format("data set {}", folder.string()),
         .why = fmt::format("its fields are [{}], not [{}]", fmt::join(names, ", "), fmt::join(kFields, ", ")),
         .fix = "pack it with these two fields"});
  }
  return index;
}

class ShardedDataset final : public Dataset {
 public:
  ShardedDataset(std::filesystem::path folder, ShardIndex index)
      : folder_(std::move(folder)),
        fingerprint_(fingerprint_of(index)),
        index_(with_ordered_fields(folder_, std::move(index))),
        store_(open_store(folder_.string())),
        shards_(index_.shards.size(), 0, [this](std::size_t shard) {
          const auto& entry = index_.shards[shard];
          return open_shard(store_->open(entry.file), true, entry, index_.fields);
        }) {
    std::int64_t end = 0;
    for (const auto& entry : index_.shards) {
      check_size(*store_->open(entry.file), entry);
      ends_.push_back(end += entry.samples);
    }
    for (const auto& field : index_.fields) {
      fields_.push_back({.name = field.name, .dtype = field.delivered, .shape = field.shape});
      converters_.push_back(converter(field.dtype, field.delivered));
    }
  }

  [[nodiscard]] std::int64_t samples() const noexcept override { return index_.samples; }
  [[nodiscard]] std::string fingerprint() const override { return fingerprint_; }

  [[nodiscard]] const std::vector<FieldInfo>& fields() const noexcept override { return fields_; }

  // Each field goes straight from the mapped file to its place.
  void read(const SampleKey& key, SampleSlot& slot) const override {
    const auto [place, row] = locate(key.sample);
    const auto shard = shards_.get(place);
    for (std::size_t f = 0; f < fields_.size(); ++f) {
      const FieldSchema& schema = index_.fields[f];
      const auto bytes = static_cast<std::int64_t>(sample_bytes(schema));
      converters_[f](shard->payloads[f] + row * bytes, slot.fixed(f).data(),
                     bytes / static_cast<std::int64_t>(size_of(schema.dtype)), static_cast<float>(schema.scale),
                     static_cast<float>(schema.offset));
    }
  }

 private:
  struct Location {
    std::size_t shard;
    std::int64_t row;
  };

  [[nodiscard]] Location locate(std::int64_t sample) const {
    if (sample < 0 || sample >= index_.samples) {
      throw UsageError({.what = fmt::format("read sample {} of data set {}", sample, folder_.string()),
                        .why = fmt::format("it has {} samples", index_.samples)});
    }
    const auto shard = static_cast<std::size_t>(std::ranges::upper_bound(ends_, sample) - ends_.begin());
    return {shard, sample - (ends_[shard] - index_.shards[shard].samples)};
  }

  const std::filesystem::path folder_;
  const std::string fingerprint_;
  const ShardIndex index_;
  const std::shared_ptr<const BlobStore> store_;
  std::vector<std::int64_t> ends_;  // of each shard: one past its last sample
  mutable ShardCache<Shard> shards_;
  std::vector<FieldInfo> fields_;
  std::vector<Convert*> converters_;
};

}  // namespace

std::shared_ptr<const Dataset> open_dataset(const std::filesystem::path& folder) {
  return std::make_shared<ShardedDataset>(folder, read_index(folder));
}

}  // namespace lockstep
