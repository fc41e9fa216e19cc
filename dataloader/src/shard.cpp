// SPDX-License-Identifier: Apache-2.0
#include "shard.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/dataloader/records.hpp"
#include "lockstep/hdf5/file.hpp"

namespace lockstep {
namespace {

[[noreturn]] void fail(const Blob& blob, std::string why) {
  throw DamagedSample({.what = fmt::format("shard {}", blob.name()),
                       .why = std::move(why),
                       .fix = "copy the data set again, or remove its folder and pack it again"});
}

const std::byte* find_payload(const Blob& blob, std::span<const std::byte> bytes, std::int64_t samples,
                              const FieldSchema& field, const hdf5::DatasetInfo& info) {
  std::vector<std::int64_t> shape{samples};
  shape.insert(shape.end(), field.shape.begin(), field.shape.end());
  if (info.dtype != field.dtype || info.shape != shape) {
    fail(blob, fmt::format("dataset /{} is [{}] {}, the index says [{}] {}", field.name, fmt::join(info.shape, ", "),
                           name_of(info.dtype), fmt::join(shape, ", "), name_of(field.dtype)));
  }
  const auto size = static_cast<std::uint64_t>(samples) * sample_bytes(field);  // at most the file's, says read_index
  if (info.file_offset > bytes.size() - size) {
    fail(blob, fmt::format("dataset /{} reaches past the end of the file", field.name));
  }
  return bytes.data() + info.file_offset;
}

// Before libhdf5 parses a byte: it is not hardened against damaged files.
BlobView checked_bytes(const Blob& blob, const ShardEntry& entry) {
  auto view = blob.view(0, entry.bytes);
  auto crc = crc32c(view.bytes);
  if (crc != entry.crc32c && blob.refetch(0, entry.bytes)) {
    view = blob.view(0, entry.bytes);
    crc = crc32c(view.bytes);
  }
  if (crc != entry.crc32c) fail(blob, fmt::format("it is damaged: CRC-32C {:08x}, expected {:08x}", crc, entry.crc32c));
  return view;
}

}  // namespace

void check_size(const Blob& blob, const ShardEntry& entry) {
  if (blob.size() != entry.bytes) {
    fail(blob, fmt::format("{}: expected {} bytes, found {}",
                           blob.size() < entry.bytes ? "it is truncated" : "it is too long", entry.bytes, blob.size()));
  }
}

std::shared_ptr<const Shard> open_shard(std::shared_ptr<const Blob> blob, bool local, const ShardEntry& entry,
                                        std::span<const FieldSchema> fields) {
  check_size(*blob, entry);
  auto shard = std::make_shared<Shard>();
  shard->file = checked_bytes(*blob, entry);
  const auto layout = local ? hdf5::File::open(blob->name()) : hdf5::File::open_image(shard->file.bytes, blob->name());
  for (const auto& field : fields) {
    shard->payloads.push_back(
        find_payload(*blob, shard->file.bytes, entry.samples, field, layout.dataset_info("/" + field.name)));
  }
  shard->held_bytes = local ? 0 : entry.bytes;
  shard->blob = std::move(blob);
  return shard;
}

}  // namespace lockstep
