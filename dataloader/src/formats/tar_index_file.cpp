// SPDX-License-Identifier: Apache-2.0
// The index beside a tar file (docs/dataset_format.md).
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "formats/compress.hpp"
#include "formats/tar_header.hpp"
#include "formats/tar_index.hpp"
#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

static_assert(std::endian::native == std::endian::little, "the file is little-endian");

constexpr std::uint32_t kVersion = 1;

struct Start {
  char magic[8] = {'l', 's', '-', 't', 'a', 'r', '\r', '\n'};
  std::uint32_t version = kVersion;
  std::uint32_t fields = 0;
  std::uint64_t samples = 0;
  std::uint64_t tar_bytes = 0;
};
static_assert(sizeof(Start) == 32 && sizeof(TarMember) == 12);

void append(std::string& bytes, const void* from, std::size_t count) {
  bytes.append(static_cast<const char*>(from), count);
}

[[noreturn]] void fail(const Blob& stored, std::string why) {
  throw DataError({.what = fmt::format("index {}", stored.name()),
                   .why = std::move(why),
                   .fix = "copy the tar file and its index again; or, if the tar file is good, index it again"});
}

// Takes values off the front of the file.
class Reader {
 public:
  Reader(const Blob& stored, std::span<const std::byte> bytes) : stored_(stored), bytes_(bytes) {}

  std::span<const std::byte> take(std::size_t count) {
    if (count > bytes_.size()) fail(stored_, "it is too short");
    const auto taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }

  template <typename T>
  T take() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  [[nodiscard]] std::size_t left() const noexcept { return bytes_.size(); }

 private:
  const Blob& stored_;
  std::span<const std::byte> bytes_;
};

std::uint32_t trailing_crc(std::span<const std::byte> bytes) {
  std::uint32_t crc = 0;
  std::memcpy(&crc, bytes.last(sizeof crc).data(), sizeof crc);
  return crc;
}

// The whole file, its own checksum checked and taken off.
BlobView checked(const Blob& stored) {
  for (bool again = false;; again = true) {
    auto view = stored.view(0, stored.size());
    constexpr auto kCrcBytes = sizeof(std::uint32_t);
    if (view.bytes.size() >= sizeof(Start) + kCrcBytes &&
        crc32c(view.bytes.first(view.bytes.size() - kCrcBytes)) == trailing_crc(view.bytes)) {
      return view;
    }
    if (again || !stored.refetch(0, stored.size())) fail(stored, "it is damaged: its checksum does not fit");
  }
}

std::vector<TarField> take_fields(Reader& reader, std::uint32_t count) {
  std::vector<TarField> fields;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto text = reader.take(reader.take<std::uint16_t>());
    const std::string_view name(reinterpret_cast<const char*>(text.data()), text.size());
    const auto compression = compression_of(name);
    fields.push_back({std::string(name.substr(0, name.size() - suffix_of(compression).size())), compression});
  }
  return fields;
}

// All that is stored, every number checked.
TarIndex parse(const Blob& stored, std::uint64_t tar_bytes) {
  const auto view = checked(stored);
  Reader reader(stored, view.bytes.first(view.bytes.size() - sizeof(std::uint32_t)));
  const auto start = reader.take<Start>();
  if (std::memcmp(start.magic, Start{}.magic, sizeof start.magic) != 0) fail(stored, "it is no index of a tar file");
  if (start.version != kVersion) {
    fail(stored, fmt::format("it has version {}, this lockstep reads {}", start.version, kVersion));
  }
  if (start.tar_bytes != tar_bytes) {
    fail(stored, fmt::format("it is of a tar file of {} bytes, this one has {}: the tar file is truncated, or was made "
                             "anew without its index",
                             start.tar_bytes, tar_bytes));
  }
  if (start.fields > kMostTarFields) fail(stored, fmt::format("it has {} fields", start.fields));
  TarIndex index{.fields = take_fields(reader, start.fields), .checksums = true, .digest = trailing_crc(view.bytes)};
  const std::uint64_t row_bytes = start.fields * sizeof(TarMember);
  if (row_bytes == 0 ? start.samples != 0 || reader.left() != 0
                     : reader.left() % row_bytes != 0 || reader.left() / row_bytes != start.samples) {
    fail(stored, fmt::format("{} samples are not in its {} bytes", start.samples, stored.size()));
  }
  index.samples = static_cast<std::int64_t>(start.samples);
  index.members.resize(start.samples * start.fields);
  if (const auto rows = reader.take(reader.left()); !rows.empty()) {
    std::memcpy(index.members.data(), rows.data(), rows.size());
  }
  const bool inside = std::ranges::all_of(index.members, [tar_bytes](const TarMember& member) {
    return member.block * kTarBlock <= tar_bytes && member.bytes <= tar_bytes - member.block * kTarBlock;
  });
  if (!inside) fail(stored, "a sample is said to lie outside of the tar file");
  return index;
}

// Where each wanted field is among those that are stored; fields.size(): nowhere.
std::vector<std::size_t> places_of(const TarIndex& index, const std::vector<std::string>& names) {
  std::vector<std::size_t> places;
  for (const auto& name : names) {
    const auto found = std::ranges::find(index.fields, name, &TarField::name);
    places.push_back(static_cast<std::size_t>(found - index.fields.begin()));
  }
  return places;
}

std::vector<std::string> fields_of_first_sample(const TarIndex& index) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < index.fields.size() && index.samples > 0; ++i) {
    if (index.members[i].block != 0) names.push_back(index.fields[i].name);
  }
  return names;
}

[[noreturn]] void missing(const Blob& tar, std::int64_t sample, std::span<const TarMember> row,
                          const std::string& field) {
  const auto present = std::ranges::find_if(row, [](const TarMember& member) { return member.block != 0; });
  const std::string name = present == row.end() ? std::string() : tar_name_at(tar, present->block * kTarBlock);
  const auto parts = split_tar_name(name);
  throw DataError({.what = fmt::format("{}, sample {} (key {}), field \"{}\"", tar.name(), sample,
                                       parts ? parts->key : "unknown", field),
                   .why = "the sample does not have it",
                   .fix = "give fields that every sample has, or pack the data set again"});
}

}  // namespace

TarIndex read_tar_index(const Blob& stored, const Blob& tar, const TarFieldChoice& choice) {
  const TarIndex all = parse(stored, tar.size());
  const auto names = choice.names.empty() ? fields_of_first_sample(all) : choice.names;
  const auto places = places_of(all, names);
  TarIndex index{.samples = all.samples, .checksums = true, .digest = all.digest};
  for (std::size_t i = 0; i < names.size(); ++i) {
    const bool stored_at_all = places[i] < all.fields.size();
    index.fields.push_back({names[i], stored_at_all ? all.fields[places[i]].compression : Compression::none});
  }
  index.members.reserve(static_cast<std::size_t>(all.samples) * names.size());
  for (std::int64_t sample = 0; sample < all.samples; ++sample) {
    const auto row =
        std::span(all.members).subspan(static_cast<std::size_t>(sample) * all.fields.size(), all.fields.size());
    for (std::size_t i = 0; i < names.size(); ++i) {
      const TarMember member = places[i] < row.size() ? row[places[i]] : TarMember{};
      if (choice.required && member.block == 0) missing(tar, sample, row, names[i]);
      index.members.push_back(member);
    }
  }
  return index;
}

TarIndex index_with_checksums(const Blob& tar) {
  TarIndex index = walk_tar(tar, {.names = tar_fields(tar)});
  for (auto& member : index.members) {
    if (member.block != 0) member.crc32c = crc32c(tar.view(member.block * kTarBlock, member.bytes).bytes);
  }
  index.checksums = true;
  return index;
}

std::string to_bytes(const TarIndex& index, std::uint64_t tar_bytes) {
  const Start start{.fields = static_cast<std::uint32_t>(index.fields.size()),
                    .samples = static_cast<std::uint64_t>(index.samples),
                    .tar_bytes = tar_bytes};
  std::string bytes;
  append(bytes, &start, sizeof start);
  for (const auto& field : index.fields) {
    const std::string name = field.name + std::string(suffix_of(field.compression));
    const auto size = static_cast<std::uint16_t>(name.size());
    append(bytes, &size, sizeof size);
    append(bytes, name.data(), name.size());
  }
  append(bytes, index.members.data(), index.members.size() * sizeof(TarMember));
  const auto crc = crc32c(std::as_bytes(std::span(bytes)));
  append(bytes, &crc, sizeof crc);
  return bytes;
}

}  // namespace lockstep
