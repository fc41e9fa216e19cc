// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/dataset.hpp"

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cassert>
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

[[maybe_unused]] constexpr std::uintptr_t kAlignment = 64;  // of batches: kernels may change bits with alignment
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
  }

  [[nodiscard]] std::int64_t samples() const noexcept override { return index_.samples; }
  [[nodiscard]] std::string fingerprint() const override { return fingerprint_; }

  [[nodiscard]] Batch read(std::span<const std::int64_t> indices) const override {
    return {.data = gather(0, indices), .target = gather(1, indices)};
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

  // [samples, …]: each sample goes straight from the mapped file to its place in the tensor.
  [[nodiscard]] at::Tensor gather(std::size_t field, std::span<const std::int64_t> indices) const {
    const FieldSchema& schema = index_.fields[field];
    std::vector<std::int64_t> shape{static_cast<std::int64_t>(indices.size())};
    shape.insert(shape.end(), schema.shape.begin(), schema.shape.end());
    auto tensor = at::empty(shape, schema.delivered == DType::float32 ? at::kFloat : at::kLong);
    auto* to = static_cast<std::byte*>(tensor.mutable_data_ptr());
    assert(reinterpret_cast<std::uintptr_t>(to) % kAlignment == 0);

    auto* const convert = converter(schema.dtype, schema.delivered);
    const auto from_bytes = static_cast<std::int64_t>(sample_bytes(schema));
    const auto elements = from_bytes / static_cast<std::int64_t>(size_of(schema.dtype));
    for (const auto index : indices) {
      const auto [shard, row] = locate(index);
      convert(shards_.get(shard)->payloads[field] + row * from_bytes, to, elements, static_cast<float>(schema.scale),
              static_cast<float>(schema.offset));
      to += elements * static_cast<std::int64_t>(size_of(schema.delivered));
    }
    return tensor;
  }

  const std::filesystem::path folder_;
  const std::string fingerprint_;
  const ShardIndex index_;
  const std::shared_ptr<const BlobStore> store_;
  std::vector<std::int64_t> ends_;  // of each shard: one past its last sample
  mutable ShardCache<Shard> shards_;
};

}  // namespace

std::shared_ptr<const Dataset> open_dataset(const std::filesystem::path& folder) {
  return std::make_shared<ShardedDataset>(folder, read_index(folder));
}

}  // namespace lockstep
