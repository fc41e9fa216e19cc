// SPDX-License-Identifier: Apache-2.0
#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "formats/compress.hpp"
#include "formats/formats.hpp"
#include "formats/tar_header.hpp"
#include "formats/tar_index.hpp"
#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/dataloader/pack.hpp"
#include "pack/new_folder.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// Headers (with what a long name takes) and whole blocks of data.
std::uint64_t bytes_in_tar(std::string_view name, std::uint64_t bytes) {
  return (name.size() > 99 ? 2 * kTarBlock + name.size() + kTarBlock : 0) + 2 * kTarBlock + bytes;
}

// One tar file being written.
class TarFile {
 public:
  explicit TarFile(fs::path path) : path_(std::move(path)), archive_(archive_write_new()), entry_(archive_entry_new()) {
    check(archive_write_set_format_pax_restricted(archive_.get()));  // ustar, unless a name is too long for it
    check(archive_write_set_bytes_per_block(archive_.get(), 1 << 20));
    check(archive_write_set_bytes_in_last_block(archive_.get(), 1));
    check(archive_write_open_filename(archive_.get(), path_.c_str()));
  }

  void add(const std::string& name, std::span<const std::byte> bytes) {
    archive_entry_clear(entry_.get());  // no owner and no time: the same samples are the same file
    archive_entry_set_pathname(entry_.get(), name.c_str());
    archive_entry_set_filetype(entry_.get(), AE_IFREG);
    archive_entry_set_perm(entry_.get(), 0644);
    archive_entry_set_mtime(entry_.get(), 0, 0);
    archive_entry_set_size(entry_.get(), static_cast<la_int64_t>(bytes.size()));
    check(archive_write_header(archive_.get(), entry_.get()));
    check(archive_write_data(archive_.get(), bytes.data(), bytes.size()));
    checksums_.push_back(crc32c(bytes));
    bytes_ += bytes_in_tar(name, bytes.size());
  }

  // Writes what is left and the index, and compares the file with what was to be written. Returns its size.
  std::uint64_t finish() {
    check(archive_write_close(archive_.get()));
    fsync_path(path_);
    const auto tar = open_store(path_.parent_path().string())->open(path_.filename().string());
    const auto index = index_with_checksums(*tar);
    if (checksums_in_order(index) != checksums_) {
      throw IoError({.what = fmt::format("write {}", path_.string()),
                     .why = "what was read back differs from what was written",
                     .fix = "check the disk"});
    }
    write_file_durably(path_.string() + kTarIndexSuffix, to_bytes(index, tar->size()));
    return tar->size();
  }

  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }  // at most, so far

 private:
  struct Free {
    void operator()(archive* writer) const noexcept {
      archive_write_fail(writer);  // or it would write what is left, into a file that nobody wants
      archive_write_free(writer);
    }
    void operator()(archive_entry* entry) const noexcept { archive_entry_free(entry); }
  };

  void check(la_ssize_t result) const {
    if (result < ARCHIVE_WARN) {
      throw IoError({.what = fmt::format("write {}", path_.string()), .why = archive_error_string(archive_.get())});
    }
  }

  static std::vector<std::uint32_t> checksums_in_order(const TarIndex& index) {
    std::vector<TarMember> members;
    std::ranges::copy_if(index.members, std::back_inserter(members),
                         [](const auto& member) { return member.block > 0; });
    std::ranges::sort(members, {}, &TarMember::block);
    std::vector<std::uint32_t> checksums;
    std::ranges::transform(members, std::back_inserter(checksums), &TarMember::crc32c);
    return checksums;
  }

  const fs::path path_;
  const std::unique_ptr<archive, Free> archive_;
  const std::unique_ptr<archive_entry, Free> entry_;
  std::vector<std::uint32_t> checksums_;  // of the fields, in the order of the file
  std::uint64_t bytes_ = 2 * kTarBlock;   // the end
};

}  // namespace

struct TarWriter::Impl {
  Impl(const fs::path& target, const PackOptions& pack_options) : folder(target), options(pack_options) {}

  void check(std::string_view key, std::span<const FieldBytes> fields) const;
  void write(std::string_view key, std::span<const FieldBytes> fields);
  void end_shard();

  NewFolder folder;
  const PackOptions options;
  PackedCounts counts{};
  std::string last_key{};
  std::optional<TarFile> tar{};
  std::int64_t samples_in_tar = 0;
  std::vector<std::vector<std::byte>> compressed{};  // of each field of the sample being written
};

void TarWriter::Impl::check(std::string_view key, std::span<const FieldBytes> fields) const {
  const auto refuse = [&](std::string why, std::string fix) {
    throw UsageError({.what = fmt::format("{}, sample {} (key \"{}\")", folder.what(), counts.samples, key),
                      .why = std::move(why),
                      .fix = std::move(fix)});
  };
  if (key == last_key) refuse("the sample before has this key", "give neighbours different keys");
  if (fields.empty()) refuse("it has no field", "leave it out");
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto name = fields[i].name;
    const std::string file = fmt::format("{}.{}", key, name);
    const auto parts = split_tar_name(file);
    const bool plain = std::ranges::none_of(file, [](char c) { return c == '\0'; }) &&
                       std::ranges::none_of(name, [](char c) { return c == '/' || (c >= 'A' && c <= 'Z'); });
    if (!plain || !parts || parts->key != key || compression_of(name) != Compression::none) {
      refuse(fmt::format("the file \"{}\" could not be read back as this key and field", file),
             "use a key without a dot in its last part, and a field's name in lower case without \"/\", .zst and .lz4");
    }
    if (std::ranges::count(fields, name, &FieldBytes::name) > 1) {
      refuse(fmt::format("it has the field \"{}\" twice", name), "give each field its own name");
    }
  }
}

void TarWriter::Impl::write(std::string_view key, std::span<const FieldBytes> fields) {
  struct File {
    std::string name;
    std::span<const std::byte> bytes;
  };
  std::vector<File> files;
  std::uint64_t bytes = 0;
  compressed.resize(std::max(compressed.size(), fields.size()));
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto encoding = encoding_of(fields[i].name);
    const auto compression = encoding == "jpg" || encoding == "png" ? Compression::none : options.compression;
    File file{fmt::format("{}.{}{}", key, fields[i].name, suffix_of(compression)), fields[i].bytes};
    if (compression != Compression::none) {
      compress(compression, fields[i].bytes, compressed[i]);
      file.bytes = compressed[i];
    }
    bytes += bytes_in_tar(file.name, file.bytes.size());
    files.push_back(std::move(file));
  }
  if (tar && (samples_in_tar >= options.shard_samples || tar->bytes() + bytes > options.shard_bytes)) end_shard();
  if (!tar) tar.emplace(folder.path() / fmt::format("shard-{:05}.tar", counts.shards));
  for (const auto& file : files) tar->add(file.name, file.bytes);
  ++samples_in_tar;
  ++counts.samples;
  last_key = key;
}

void TarWriter::Impl::end_shard() {
  counts.bytes += tar->finish();
  ++counts.shards;
  samples_in_tar = 0;
  tar.reset();
}

TarWriter::TarWriter(const fs::path& folder, const PackOptions& options)
    : impl_(std::make_unique<Impl>(folder, options)) {}
TarWriter::TarWriter(TarWriter&&) noexcept = default;
TarWriter& TarWriter::operator=(TarWriter&&) noexcept = default;
TarWriter::~TarWriter() = default;

void TarWriter::add(std::string_view key, std::span<const FieldBytes> fields) {
  if (!impl_) throw UsageError({.what = "add a sample to tar shards", .why = "they are finished, or have failed"});
  impl_->check(key, fields);
  try {
    impl_->write(key, fields);
  } catch (...) {
    impl_.reset();  // half a sample cannot be taken back
    throw;
  }
}

PackedCounts TarWriter::finish() {
  const auto impl = std::move(impl_);
  if (!impl || !impl->tar) {
    throw UsageError(
        {.what = "finish tar shards", .why = impl ? "there is no sample" : "they are finished, or have failed"});
  }
  impl->end_shard();
  impl->folder.move_into_place();
  return impl->counts;
}

void index_tar(const fs::path& tar) {
  const auto blob = open_store(tar.has_parent_path() ? tar.parent_path().string() : ".")->open(tar.filename().string());
  write_file_durably(tar.string() + kTarIndexSuffix, to_bytes(index_with_checksums(*blob), blob->size()));
}

}  // namespace lockstep
