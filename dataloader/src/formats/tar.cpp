// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "formats/compress.hpp"
#include "formats/formats.hpp"
#include "formats/tar_header.hpp"
#include "formats/tar_index.hpp"
#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/mix.hpp"

namespace lockstep {
namespace {

class TarReader final : public RecordReader {
 public:
  TarReader(const BlobStore& store, const RecordOptions& options)
      : choice_{.names = options.fields, .required = !options.fields.empty()} {
    for (const auto& name : data_files(store, options, ".tar")) add_shard(store, name);
    members_.shrink_to_fit();
    if (samples_ == 0) {
      throw DataError({.what = fmt::format("tar files in {}", store.location()),
                       .why = "there is no sample in them",
                       .fix = "name the files of a sample alike up to the first dot: 000017.jpg, 000017.cls"});
    }
    for (const auto& name : choice_.names) fields_.push_back({.name = name, .encoding = encoding_of(name)});
  }

  [[nodiscard]] std::int64_t samples() const noexcept override { return samples_; }
  [[nodiscard]] const std::vector<std::int64_t>& shard_samples() const noexcept override { return shard_samples_; }
  [[nodiscard]] std::string fingerprint() const override { return fmt::format("{:016x}", hash_); }
  [[nodiscard]] const std::vector<StoredField>& fields() const noexcept override { return fields_; }
  [[nodiscard]] bool checksummed() const noexcept override { return std::ranges::all_of(shards_, &Shard::checksums); }

  void read(std::int64_t sample, Record& record) const override {
    const Shard& shard = shard_of(sample);
    const auto members = members_of(sample);
    record.fields.resize(members.size());
    record.keeps.clear();
    std::size_t used = 0;  // of record.buffer
    for (std::size_t i = 0; i < members.size(); ++i) {
      used += read_checked(shard, sample, i, used, record);
    }
    if (used > 0) point_into_buffer(shard, record);
  }

  void prefetch(std::int64_t sample) const override {
    const Shard& shard = shard_of(sample);
    for (const auto& member : members_of(sample)) {
      if (member.block != 0) shard.tar->prefetch(member.block * kTarBlock, member.bytes);
    }
  }

  [[nodiscard]] std::string describe(std::int64_t sample) const override {
    const Shard& shard = shard_of(sample);
    std::string text = fmt::format("{}, sample {}", shard.name, sample - shard.first);
    for (const TarMember& member : members_of(sample)) {
      if (member.block == 0) continue;
      const std::string name = tar_name_at(*shard.tar, member.block * kTarBlock);
      if (const auto parts = split_tar_name(name)) text += fmt::format(" (key {})", parts->key);
      break;
    }
    return text;
  }

 private:
  struct Shard {
    std::string name;
    std::shared_ptr<const Blob> tar;
    std::int64_t first = 0;  // sample
    bool checksums = false;
    std::vector<Compression> compression;  // of each field
  };

  void add_shard(const BlobStore& store, const std::string& name) {
    auto tar = store.open(name);
    const std::string index_name = name + kTarIndexSuffix;
    const auto index =
        store.contains(index_name) ? read_tar_index(*store.open(index_name), *tar, choice_) : walk_tar(*tar, choice_);
    Shard shard{.name = name, .tar = tar, .first = samples_, .checksums = index.checksums, .compression = {}};
    for (const auto& field : index.fields) shard.compression.push_back(field.compression);
    if (choice_.names.empty()) {  // no sample until now: the first one decides
      for (const auto& field : index.fields) choice_.names.push_back(field.name);
    }
    members_.insert(members_.end(), index.members.begin(), index.members.end());
    samples_ += index.samples;
    shard_samples_.push_back(index.samples);
    for (const std::uint64_t part :
         {std::uint64_t{crc32c(std::as_bytes(std::span(name)))}, tar->size(), std::uint64_t{index.digest}}) {
      hash_ = mix_bits(hash_ + kGoldenGamma + part);
    }
    shards_.push_back(std::move(shard));
  }

  [[nodiscard]] const Shard& shard_of(std::int64_t sample) const {
    if (sample < 0 || sample >= samples_) {
      throw UsageError({.what = fmt::format("sample {} of tar files", sample),
                        .why = fmt::format("there are {} samples", samples_)});
    }
    return *(std::ranges::upper_bound(shards_, sample, {}, &Shard::first) - 1);
  }

  [[nodiscard]] std::span<const TarMember> members_of(std::int64_t sample) const {
    return std::span(members_).subspan(static_cast<std::size_t>(sample) * fields_.size(), fields_.size());
  }

  // Returns how much of record.buffer it took.
  static std::size_t read_field(const Shard& shard, const TarMember& member, std::size_t field, std::size_t used,
                                Record& record) {
    static constexpr std::array<std::byte, 1> kEmpty{};  // there, but without a byte
    auto& place = record.fields[field];
    place = {};
    if (member.block == 0) return 0;
    auto view = shard.tar->view(member.block * kTarBlock, member.bytes);
    if (shard.checksums) {
      if (const auto crc = crc32c(view.bytes); crc != member.crc32c) {
        throw DamagedSample({.why = fmt::format("CRC-32C {:08x}, expected {:08x}", crc, member.crc32c)});
      }
    }
    if (shard.compression[field] != Compression::none) {
      const auto bytes = decompress(shard.compression[field], view.bytes, record.buffer, used);
      place = std::span(record.buffer).subspan(used, bytes);  // the buffer may yet move: see point_into_buffer
      return bytes;
    }
    place = view.bytes.empty() ? std::span(kEmpty).first(0) : view.bytes;
    if (view.keeps) record.keeps.push_back(std::move(view.keeps));
    return 0;
  }

  std::size_t read_checked(const Shard& shard, std::int64_t sample, std::size_t field, std::size_t used,
                           Record& record) const {
    const TarMember& member = members_of(sample)[field];
    for (bool again = false;; again = true) {
      try {
        return read_field(shard, member, field, used, record);
      } catch (const DamagedSample& error) {
        if (again || !shard.tar->refetch(member.block * kTarBlock, member.bytes)) {
          throw DamagedSample({.what = fmt::format("{}, field \"{}\"", describe(sample), fields_[field].name),
                               .why = error.text().why,
                               .fix = "copy the tar file again, or pack it again"});
        }
      }
    }
  }

  // What was decompressed lies there in the order of the fields.
  static void point_into_buffer(const Shard& shard, Record& record) {
    std::size_t at = 0;
    for (std::size_t i = 0; i < record.fields.size(); ++i) {
      auto& place = record.fields[i];
      if (shard.compression[i] == Compression::none || place.data() == nullptr) continue;
      place = std::span(record.buffer).subspan(at, place.size());
      at += place.size();
    }
  }

  TarFieldChoice choice_;
  std::vector<StoredField> fields_;
  std::vector<Shard> shards_;
  std::vector<TarMember> members_;  // [samples, fields]
  std::vector<std::int64_t> shard_samples_;
  std::int64_t samples_ = 0;
  std::uint64_t hash_ = 0;
};

}  // namespace

std::unique_ptr<const RecordReader> open_tar(std::shared_ptr<const BlobStore> store, const RecordOptions& options) {
  return std::make_unique<TarReader>(*store, options);
}

}  // namespace lockstep
