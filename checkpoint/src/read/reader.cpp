// SPDX-License-Identifier: Apache-2.0
#include "lockstep/checkpoint/reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "failure.hpp"
#include "format/manifest.hpp"
#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/hdf5/file.hpp"
#include "read/stored_file.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLargestManifest = 1 << 30;  // a million tensors need a fifth of it
constexpr const char* kUseAnother = "use an older checkpoint, or fetch this one again from where it was copied";

Manifest read_manifest(const fs::path& path) {
  const StoredFile file(path);
  if (file.bytes() > kLargestManifest) {
    throw IoError({.what = fmt::format("read {}", path.string()), .why = fmt::format("it has {} bytes", file.bytes())});
  }
  std::string text(file.bytes(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return parse_manifest(text, path);
}

// The names of what a damaged block hurts: those that overlap it and whose own bytes do not match.
std::string damaged_in_block(const Manifest& manifest, const StoredFile& file, std::uint64_t first,
                             std::uint64_t last) {
  std::vector<std::string_view> names;
  for (const auto* records : {&manifest.tensors, &manifest.blobs}) {
    for (const DatasetRecord& record : *records) {
      const bool overlaps = record.offset < last && record.offset + record.bytes > first;
      if (overlaps && file.checksum(record.offset, record.bytes) != record.crc) names.push_back(record.name);
    }
  }
  return names.empty() ? "metadata" : fmt::format("{}", fmt::join(names, ", "));
}

void check_bytes(const Manifest& manifest, const StoredFile& file) {
  const PayloadRecord& payload = manifest.payload;
  const std::string what = fmt::format("read {}", file.path().string());
  if (file.bytes() != payload.bytes) {
    throw CheckpointError({.what = what,
                           .why = fmt::format("it has {} bytes and should have {}", file.bytes(), payload.bytes),
                           .fix = kUseAnother});
  }
  const std::vector<std::uint32_t> crcs = file.block_checksums(payload.block_bytes);
  const auto damaged = std::ranges::mismatch(crcs, payload.block_crcs).in1 - crcs.begin();
  if (damaged == std::ssize(crcs)) return;
  const std::uint64_t first = static_cast<std::uint64_t>(damaged) * payload.block_bytes;
  const std::uint64_t last = std::min(first + payload.block_bytes, payload.bytes);
  throw CheckpointError({.what = what,
                         .why = fmt::format("bytes {} to {} do not match their CRC-32C; damaged: {}", first, last - 1,
                                            damaged_in_block(manifest, file, first, last)),
                         .fix = kUseAnother});
}

// Only for files whose bytes were checked: libhdf5 can crash on damaged ones.
void check_datasets(const Manifest& manifest, const fs::path& path) {
  const hdf5::File file = hdf5::File::open(path);
  for (const auto* records : {&manifest.tensors, &manifest.blobs}) {
    for (const DatasetRecord& record : *records) {
      const hdf5::DatasetInfo info = file.dataset_info(record.name);
      if (info.dtype != record.dtype || info.shape != record.shape ||
          (record.bytes > 0 && info.file_offset != record.offset)) {
        throw CheckpointError(
            {.what = fmt::format("read {}", path.string()),
             .why = fmt::format("{} is {} [{}] at byte {}; the manifest says {} [{}] at {}", record.name,
                                name_of(info.dtype), fmt::join(info.shape, ", "), info.file_offset,
                                name_of(record.dtype), fmt::join(record.shape, ", "), record.offset),
             .fix = kUseAnother});
      }
    }
  }
}

const DatasetRecord* find_record(const std::vector<DatasetRecord>& records, std::string_view name) {
  const auto found = std::ranges::lower_bound(records, name, {}, &DatasetRecord::name);
  return found != records.end() && found->name == name ? &*found : nullptr;
}

}  // namespace

struct Checkpoint::Impl {
  fs::path path;
  Manifest manifest;
  StoredFile payload;  // kept open, so that what is read is the file that was verified
  std::vector<StoredTensor> tensors{};

  void read(const DatasetRecord& record, std::span<std::byte> bytes) const {
    const std::string what = fmt::format("read {} of {}", record.name, path.string());
    if (bytes.size() != record.bytes) {
      throw CheckpointError({.what = what,
                             .why = fmt::format("it is {} [{}], {} bytes; {} were asked for", name_of(record.dtype),
                                                fmt::join(record.shape, ", "), record.bytes, bytes.size()),
                             .fix = "load it into a tensor of the same shape and dtype"});
    }
    try {
      payload.read(record.offset, bytes);
    } catch (...) {
      rethrow_as_checkpoint_error(what, kUseAnother);
    }
    if (crc32c(bytes) != record.crc) {
      throw CheckpointError({.what = what, .why = "its bytes do not match their CRC-32C", .fix = kUseAnother});
    }
  }
};

Checkpoint::Checkpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

Checkpoint Checkpoint::open(const fs::path& path) {
  try {
    Manifest manifest = read_manifest(path / kManifestName);
    StoredFile payload(path / manifest.payload.file);
    check_bytes(manifest, payload);
    check_datasets(manifest, payload.path());
    auto impl = std::make_unique<Impl>(Impl{path, std::move(manifest), std::move(payload)});
    for (const DatasetRecord& record : impl->manifest.tensors) {
      impl->tensors.push_back({record.name, record.dtype, record.shape});
    }
    return Checkpoint(std::move(impl));
  } catch (...) {
    rethrow_as_checkpoint_error(fmt::format("open checkpoint {}", path.string()), kUseAnother);
  }
}

const fs::path& Checkpoint::path() const noexcept { return impl_->path; }
std::int64_t Checkpoint::step() const noexcept { return impl_->manifest.step; }
int Checkpoint::world_size() const noexcept { return impl_->manifest.world_size; }
std::uint64_t Checkpoint::seed() const noexcept { return impl_->manifest.seed; }
const DeterminismRecord& Checkpoint::determinism() const noexcept { return impl_->manifest.determinism; }
const std::vector<StoredTensor>& Checkpoint::tensors() const noexcept { return impl_->tensors; }

const StoredTensor* Checkpoint::find(std::string_view name) const noexcept {
  const DatasetRecord* record = find_record(impl_->manifest.tensors, name);
  return record == nullptr ? nullptr
                           : &impl_->tensors[static_cast<std::size_t>(record - impl_->manifest.tensors.data())];
}

std::optional<std::string> Checkpoint::blob(std::string_view name) const {
  const DatasetRecord* record = find_record(impl_->manifest.blobs, std::string(kBlobFolder).append(name));
  if (record == nullptr) return std::nullopt;
  std::string text(record->bytes, '\0');
  impl_->read(*record, std::as_writable_bytes(std::span(text)));
  return text;
}

void Checkpoint::read(std::string_view name, std::span<std::byte> bytes) const {
  const DatasetRecord* record = find_record(impl_->manifest.tensors, name);
  if (record == nullptr) {
    throw CheckpointError({.what = fmt::format("read {} of {}", name, impl_->path.string()),
                           .why = "the checkpoint has no such tensor",
                           .fix = "load it into the model that it was written from"});
  }
  impl_->read(*record, bytes);
}

}  // namespace lockstep
