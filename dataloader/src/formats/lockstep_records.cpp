// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <iterator>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

#include "formats/formats.hpp"
#include "formats/shard_index.hpp"
#include "formats/sharded_reader.hpp"
#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

constexpr const char* kFix = "copy the data set again, or remove its folder and pack it again";

// A shard is opened when a sample of it is first asked for: behind a URL that is a request.
class Shards {
 public:
  Shards(std::shared_ptr<const BlobStore> store, const std::vector<ShardEntry>& entries)
      : store_(std::move(store)), entries_(entries), slots_(entries.size()) {}

  // Throws DataError if the file is missing or of another size than the index says; IoError.
  [[nodiscard]] const Blob& get(std::size_t shard) const {
    Slot& slot = slots_[shard];
    if (const Blob* const open = slot.open.load(std::memory_order_acquire)) return *open;
    const std::lock_guard lock(mutex_);
    if (!slot.blob) {
      auto blob = store_->open(entries_[shard].file);
      check_size(*blob, entries_[shard]);
      slot.blob = std::move(blob);
      slot.open.store(slot.blob.get(), std::memory_order_release);
    }
    return *slot.blob;
  }

 private:
  struct Slot {
    std::atomic<const Blob*> open{nullptr};
    std::shared_ptr<const Blob> blob;
  };

  static void check_size(const Blob& blob, const ShardEntry& entry) {
    if (blob.size() == entry.bytes) return;
    throw DataError(
        {.what = fmt::format("shard {}", blob.name()),
         .why = fmt::format("{}: expected {} bytes, found {}",
                            blob.size() < entry.bytes ? "it is truncated" : "it is too long", entry.bytes, blob.size()),
         .fix = kFix});
  }

  const std::shared_ptr<const BlobStore> store_;
  const std::vector<ShardEntry>& entries_;
  mutable std::mutex mutex_;  // of opening
  mutable std::vector<Slot> slots_;
};

// libhdf5 takes no part in reading: the index says where the samples are, and their checksums say whether they are
// whole.
class LockstepReader final : public ShardedReader {
 public:
  // `chosen`: the places of the fields that are read, in the index's.
  LockstepReader(const std::string& what, ShardLayout layout, std::shared_ptr<const BlobStore> store, ShardIndex index,
                 std::vector<std::size_t> chosen)
      : ShardedReader(what, std::move(layout)),
        index_(std::move(index)),
        chosen_(std::move(chosen)),
        shards_(std::move(store), index_.shards) {}

  [[nodiscard]] std::string fingerprint() const override { return fingerprint_of(index_); }
  [[nodiscard]] bool checksummed() const noexcept override { return true; }

  void open_all() const {
    for (std::size_t i = 0; i < index_.shards.size(); ++i) (void)shards_.get(i);
  }

  void read(std::int64_t sample, Record& record) const override {
    const auto [shard, row] = locate(sample);
    clear(record, chosen_.size());
    for (std::size_t i = 0; i < chosen_.size(); ++i) {
      auto view = checked_field(shards_.get(shard), index_.shards[shard], chosen_[i], static_cast<std::uint64_t>(row));
      record.fields[i] = view.bytes;
      if (view.keeps) record.keeps.push_back(std::move(view.keeps));
    }
  }

  void prefetch(std::int64_t sample) const override {
    const auto [shard, row] = locate(sample);
    for (const auto field : chosen_) {
      const auto bytes = sample_bytes(index_.fields[field]);
      shards_.get(shard).prefetch(index_.shards[shard].offsets[field] + static_cast<std::uint64_t>(row) * bytes, bytes);
    }
  }

 private:
  [[nodiscard]] BlobView checked_field(const Blob& blob, const ShardEntry& entry, std::size_t field,
                                       std::uint64_t row) const {
    const auto bytes = sample_bytes(index_.fields[field]);
    const auto at = entry.offsets[field] + row * bytes;
    const auto checksum_at = entry.checksums + (row * index_.fields.size() + field) * sizeof(std::uint32_t);
    for (bool again = false;; again = true) {
      BlobView view = blob.view(at, bytes);
      std::uint32_t expected = 0;
      std::memcpy(&expected, blob.view(checksum_at, sizeof(expected)).bytes.data(), sizeof(expected));
      const auto found = crc32c(view.bytes);
      if (found == expected) return view;
      const bool fetched = !again && blob.refetch(at, bytes) && blob.refetch(checksum_at, sizeof(expected));
      if (!fetched) {
        throw DamagedSample(
            {.what = fmt::format("shard {}, sample {}, field \"{}\"", blob.name(), row, index_.fields[field].name),
             .why = fmt::format("it is damaged: CRC-32C {:08x}, expected {:08x}", found, expected),
             .fix = kFix});
      }
    }
  }

  const ShardIndex index_;
  const std::vector<std::size_t> chosen_;
  const Shards shards_;
};

}  // namespace

std::unique_ptr<const RecordReader> open_lockstep(std::shared_ptr<const BlobStore> store,
                                                  const RecordOptions& options) {
  const std::string what = fmt::format("data set {}", store->location());
  const auto blob = store->open(kIndexFile);
  const auto view = blob->view(0, blob->size());
  auto index = parse_index({reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()},
                           fmt::format("data set index {}", blob->name()));
  std::vector<std::string> names;
  std::ranges::transform(index.fields, std::back_inserter(names), &FieldSchema::name);
  auto chosen = select_fields(what, names, options.fields);
  ShardLayout layout;
  for (const auto i : chosen) {
    const auto& field = index.fields[i];
    layout.fields.push_back({.name = field.name,
                             .encoding = "raw",
                             .dtype = field.dtype,
                             .shape = field.shape,
                             .delivered = field.delivered,
                             .scale = field.scale,
                             .offset = field.offset});
  }
  for (const auto& entry : index.shards) {
    layout.names.push_back(entry.file);
    layout.samples.push_back(entry.samples);
  }
  const bool local = is_local(*store);
  auto reader =
      std::make_unique<LockstepReader>(what, std::move(layout), std::move(store), std::move(index), std::move(chosen));
  if (local) reader->open_all();  // what is missing or cut is better known before the first step
  return reader;
}

}  // namespace lockstep
