// SPDX-License-Identifier: Apache-2.0
#include "shard.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <system_error>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/hdf5/file.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, std::string why) {
  throw DataError({.what = fmt::format("shard {}", path.string()),
                   .why = std::move(why),
                   .fix = "copy the data set again, or remove its folder and pack it again"});
}

void check_size(const fs::path& path, std::uint64_t found, std::uint64_t expected) {
  if (found != expected) {
    fail(path, fmt::format("{}: expected {} bytes, found {}", found < expected ? "it is truncated" : "it is too long",
                           expected, found));
  }
}

const std::byte* find_payload(const fs::path& path, std::span<const std::byte> bytes, std::int64_t samples,
                              const FieldSchema& field, const hdf5::DatasetInfo& info) {
  std::vector<std::int64_t> shape{samples};
  shape.insert(shape.end(), field.shape.begin(), field.shape.end());
  if (info.dtype != field.dtype || info.shape != shape) {
    fail(path, fmt::format("dataset /{} is [{}] {}, the index says [{}] {}", field.name, fmt::join(info.shape, ", "),
                           name_of(info.dtype), fmt::join(shape, ", "), name_of(field.dtype)));
  }
  const auto size = static_cast<std::uint64_t>(samples) * sample_bytes(field);  // at most the file's, says read_index
  if (info.file_offset > bytes.size() - size) {
    fail(path, fmt::format("dataset /{} reaches past the end of the file", field.name));
  }
  return bytes.data() + info.file_offset;
}

}  // namespace

Shard::Shard(fs::path path, ShardEntry entry, std::span<const FieldSchema> fields)
    : path_(std::move(path)), entry_(std::move(entry)), fields_(fields) {
  std::error_code error;
  const auto size = fs::file_size(path_, error);
  if (error) {
    fail(path_, error.message());
  }
  check_size(path_, size, entry_.bytes);
}

const std::byte* Shard::payload(std::size_t field) const {
  const std::lock_guard lock(mutex_);
  if (payloads_.empty()) {
    open();
  }
  return payloads_[field];
}

void Shard::open() const {
  const auto bytes = file_.emplace(path_).bytes();
  check_size(path_, bytes.size(), entry_.bytes);  // it may have changed since the constructor
  // Before libhdf5 parses a byte: it is not hardened against damaged files.
  if (const auto crc = crc32c(bytes); crc != entry_.crc32c) {
    fail(path_, fmt::format("it is damaged: CRC-32C {:08x}, expected {:08x}", crc, entry_.crc32c));
  }
  const auto layout = hdf5::File::open(path_);
  std::vector<const std::byte*> payloads;
  for (const auto& field : fields_) {
    payloads.push_back(find_payload(path_, bytes, entry_.samples, field, layout.dataset_info("/" + field.name)));
  }
  payloads_ = std::move(payloads);
}

}  // namespace lockstep
