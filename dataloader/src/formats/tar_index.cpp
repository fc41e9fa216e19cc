// SPDX-License-Identifier: Apache-2.0
#include "formats/tar_index.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>

#include "formats/compress.hpp"
#include "formats/tar_header.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();

TarField field_of(std::string_view name) {
  const auto compression = compression_of(name);
  TarField field{std::string(name.substr(0, name.size() - suffix_of(compression).size())), compression};
  // As WebDataset does.
  std::ranges::transform(field.name, field.name.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; });
  return field;
}

// Files of a tar become samples: those in a row that have the same key.
class Indexer {
 public:
  Indexer(const Blob& tar, const TarFieldChoice& choice) : tar_(tar), required_(choice.required) {
    std::ranges::transform(choice.names, std::back_inserter(index_.fields),
                           [](const std::string& name) { return TarField{.name = name}; });
    seen_.resize(index_.fields.size());
    fields_are_fixed_ = !index_.fields.empty();
  }

  void add(const TarEntry& entry, const TarName& name) {
    if (index_.samples == 0 || name.key != key_) {
      end_sample();
      key_ = name.key;
      ++index_.samples;
      index_.members.resize(index_.members.size() + index_.fields.size());
    }
    const TarField field = field_of(name.field);
    const auto place = place_of(field);
    if (place == index_.fields.size()) return;
    if (index_.fields[place].compression != field.compression) {
      fail(field.name, "it is compressed otherwise than in the samples before");
    }
    TarMember& member = *(index_.members.end() - static_cast<std::ptrdiff_t>(index_.fields.size() - place));
    if (member.block != 0) fail(field.name, "the sample has it twice");
    if (entry.bytes > kMost || entry.offset / kTarBlock > kMost) {
      fail(field.name, "it is larger than 4 GiB, or more than 2 TiB into the file");
    }
    member = {static_cast<std::uint32_t>(entry.offset / kTarBlock), static_cast<std::uint32_t>(entry.bytes), 0};
  }

  TarIndex finish(std::uint32_t digest) && {
    end_sample();
    index_.digest = digest;
    return std::move(index_);
  }

 private:
  // fields.size(): not wanted.
  std::size_t place_of(const TarField& field) {
    const auto found = std::ranges::find(index_.fields, field.name, &TarField::name);
    const auto place = static_cast<std::size_t>(found - index_.fields.begin());
    if (found != index_.fields.end()) {
      if (!seen_[place]) index_.fields[place].compression = field.compression;
      seen_[place] = true;
    } else if (!fields_are_fixed_) {  // the first sample
      if (place == kMostTarFields) fail(field.name, fmt::format("the sample has more than {} fields", kMostTarFields));
      index_.fields.push_back(field);
      index_.members.emplace_back();
      seen_.push_back(true);
    }
    return place;
  }

  void end_sample() {
    if (index_.samples == 0) return;
    fields_are_fixed_ = true;
    if (!required_) return;
    for (std::size_t i = 0; i < index_.fields.size(); ++i) {
      if ((index_.members.end() - static_cast<std::ptrdiff_t>(index_.fields.size() - i))->block == 0) {
        fail(index_.fields[i].name, "the sample does not have it");
      }
    }
  }

  [[noreturn]] void fail(const std::string& field, const std::string& why) const {
    throw DataError(
        {.what = fmt::format("{}, sample {} (key {}), field \"{}\"", tar_.name(), index_.samples - 1, key_, field),
         .why = why,
         .fix = "give fields that every sample has once, or pack the data set again"});
  }

  const Blob& tar_;
  const bool required_;
  bool fields_are_fixed_ = false;
  std::vector<bool> seen_;  // of fields: their compression is known
  TarIndex index_;
  std::string key_;
};

}  // namespace

std::optional<TarName> split_tar_name(std::string_view name) {
  const auto slash = name.rfind('/');
  const auto base = slash == std::string_view::npos ? 0 : slash + 1;
  const auto dot = name.find('.', base);
  const auto first = name.substr(0, name.find('/'));
  const bool about = first.size() >= 4 && first.starts_with("__") && first.ends_with("__");
  if (dot == std::string_view::npos || dot == base || dot + 1 == name.size() || about) return std::nullopt;
  return TarName{name.substr(0, dot), name.substr(dot + 1)};
}

TarIndex walk_tar(const Blob& tar, const TarFieldChoice& choice) {
  TarWalker walker(tar);
  Indexer indexer(tar, choice);
  while (const auto entry = walker.next()) {
    if (const auto name = split_tar_name(entry->name)) indexer.add(*entry, *name);
  }
  return std::move(indexer).finish(walker.digest());
}

std::vector<std::string> tar_fields(const Blob& tar) {
  TarWalker walker(tar);
  std::vector<std::string> names;
  while (const auto entry = walker.next()) {
    const auto name = split_tar_name(entry->name);
    if (!name) continue;
    auto field = field_of(name->field).name;
    if (std::ranges::find(names, field) != names.end()) continue;
    if (names.size() == kMostTarFields) {
      throw DataError({.what = fmt::format("tar file {}", tar.name()),
                       .why = fmt::format("its samples have more than {} different fields", kMostTarFields),
                       .fix = "name fields by what they hold, not by sample: the key comes before the first dot"});
    }
    names.push_back(std::move(field));
  }
  return names;
}

}  // namespace lockstep
