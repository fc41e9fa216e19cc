// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "formats/formats.hpp"
#include "formats/mds_columns.hpp"
#include "formats/mds_shard.hpp"
#include "formats/shard_cache.hpp"
#include "formats/sharded_reader.hpp"
#include "json_number.hpp"

namespace lockstep {
namespace {

using nlohmann::json;

constexpr const char* kIndexName = "index.json";
constexpr std::uint64_t kHeldBytes = std::uint64_t{4} << 30;       // uncompressed shards kept in $TMPDIR
constexpr std::uint64_t kMostShardBytes = std::uint64_t{1} << 32;  // the offsets of its samples have 32 bits
constexpr int kMostDepth = 16;  // an index has 5; writing JSON out again needs stack for each

struct MdsIndex {
  std::vector<MdsColumn> columns;
  std::vector<MdsEntry> shards;
  std::string identity;
};

MdsFile parse_file(const json& file) {
  MdsFile parsed{.name = file.at("basename"), .bytes = whole_number<std::uint64_t>(file.at("bytes"))};
  for (const auto& [algorithm, hash] : file.at("hashes").items()) {
    if (!parsed.algorithm.empty() || !is_known_hash(algorithm)) continue;  // one is enough
    parsed.algorithm = algorithm;
    parsed.hash = hash;
  }
  return parsed;
}

// Throws json::exception, or a text: what is wrong.
MdsEntry parse_entry(const json& shard) {
  if (shard.at("version") != 2 || shard.at("format") != "mds")
    throw std::string("lockstep reads format mds, version 2");
  MdsEntry entry{.samples = whole_number(shard.at("samples")), .raw = parse_file(shard.at("raw_data"))};
  if (!shard.at("compression").is_null()) {
    const std::string compression = shard.at("compression");
    if (compression != "zstd" && !compression.starts_with("zstd:")) {
      throw fmt::format("lockstep reads shards that are uncompressed or compressed by zstd, not by {}", compression);
    }
    entry.zip = parse_file(shard.at("zip_data"));
  }
  if (entry.raw.bytes >= kMostShardBytes || entry.samples < 0 ||
      static_cast<std::uint64_t>(entry.samples) > entry.raw.bytes / sizeof(std::uint32_t)) {
    throw fmt::format("{} cannot hold {} samples in {} bytes", entry.raw.name, entry.samples, entry.raw.bytes);
  }
  return entry;
}

// A hash of no known algorithm is no reason to refuse the data, but one to know.
void warn_of_unchecked(const json& shards, const MdsIndex& index, const std::string& what) {
  const bool all =
      std::ranges::none_of(index.shards, [](const auto& entry) { return entry.stored().algorithm.empty(); });
  if (all || shards.empty() || shards.front().value("hashes", json::array()).empty()) return;
  std::fprintf(stderr, "warning: %s: its hashes, %s, are of no kind that can be checked here\n", what.c_str(),
               shards.front()["hashes"].dump().c_str());
}

MdsIndex parse_index(std::string_view text, const std::string& what) {
  const auto fail = [&](std::string why) -> MdsIndex {
    throw DataError({.what = what, .why = std::move(why), .fix = "copy the data set again"});
  };
  try {
    const auto shallow = [](int depth, json::parse_event_t /*event*/, json& /*parsed*/) {
      if (depth > kMostDepth) throw std::string("its values are nested too deeply");
      return true;
    };
    const json document = json::parse(text, shallow);
    if (document.at("version") != 2) return fail("lockstep reads version 2");
    const auto& shards = document.at("shards");
    MdsIndex index{.columns = {}, .shards = {}, .identity = "mds " + shards.dump()};
    for (const auto& shard : shards) {
      index.shards.push_back(parse_entry(shard));
      auto columns = parse_columns(shard.dump());
      if (index.shards.size() > 1 && columns != index.columns) return fail("its shards have different columns");
      index.columns = std::move(columns);
    }
    warn_of_unchecked(shards, index, what);
    return index;
  } catch (const json::exception& error) {
    return fail(error.what());
  } catch (const std::string& why) {
    return fail(why);
  }
}

// A column that is read.
struct MdsField {
  std::size_t column = 0;
  MdsForm form;
};

class MdsReader final : public ShardedReader {
 public:
  MdsReader(const std::string& what, ShardLayout layout, std::shared_ptr<const BlobStore> store, MdsIndex index,
            std::vector<MdsField> wanted)
      : ShardedReader(what, std::move(layout)),
        store_(std::move(store)),
        index_(std::move(index)),
        wanted_(std::move(wanted)),
        shards_(index_.shards.size(), kHeldBytes, [this](std::size_t shard) {
          const auto& entry = index_.shards[shard];
          return open_mds_shard(store_->open(entry.stored().name), entry, index_.columns);
        }) {}

  [[nodiscard]] bool checksummed() const noexcept override {
    return std::ranges::none_of(index_.shards, [](const auto& shard) { return shard.stored().algorithm.empty(); });
  }

  void read(std::int64_t sample, Record& record) const override {
    const auto [place, row] = locate(sample);
    auto shard = shards_.get(place);
    clear(record, wanted_.size());
    const auto values = split(sample, shard->sample(row));
    std::vector<std::size_t> ends;  // of the npy files: spans into the buffer follow once it is complete
    for (const auto& [column, form] : wanted_) {
      if (form.encoding == "npy") {
        if (auto why = append_npy(form, values[column], record.buffer); !why.empty()) fail(sample, column, why);
      }
      ends.push_back(record.buffer.size());
    }
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      const auto begin = i == 0 ? 0 : ends[i - 1];
      record.fields[i] = wanted_[i].form.encoding == "npy" ? std::span(record.buffer).subspan(begin, ends[i] - begin)
                                                           : values[wanted_[i].column];
    }
    record.keeps.push_back(std::move(shard));
  }

 private:
  [[noreturn]] void fail(std::int64_t sample, std::size_t column, std::string why) const {
    throw DamagedSample({.what = fmt::format("{}, column \"{}\"", describe(sample), index_.columns[column].name),
                         .why = std::move(why),
                         .fix = "copy the data set again"});
  }

  // The values of all columns: sizes of those that have no fixed one, then one value after the other.
  [[nodiscard]] std::vector<std::span<const std::byte>> split(std::int64_t sample,
                                                              std::span<const std::byte> bytes) const {
    std::vector<std::uint64_t> sizes;
    for (std::size_t i = 0; i < index_.columns.size(); ++i) {
      std::uint32_t size = 0;
      if (index_.columns[i].size != 0) {
        sizes.push_back(index_.columns[i].size);
        continue;
      }
      if (bytes.size() < sizeof size) fail(sample, i, "the sample ends within its header");
      std::memcpy(&size, bytes.data(), sizeof size);
      sizes.push_back(size);
      bytes = bytes.subspan(sizeof size);
    }
    std::vector<std::span<const std::byte>> values;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (sizes[i] > bytes.size()) fail(sample, i, fmt::format("{} bytes, {} are left", sizes[i], bytes.size()));
      values.push_back(bytes.first(sizes[i]));
      bytes = bytes.subspan(sizes[i]);
    }
    if (!bytes.empty()) fail(sample, sizes.size() - 1, fmt::format("{} bytes are left over", bytes.size()));
    return values;
  }

  const std::shared_ptr<const BlobStore> store_;
  const MdsIndex index_;
  const std::vector<MdsField> wanted_;
  mutable ShardCache<MdsShard> shards_;
};

}  // namespace

std::unique_ptr<const RecordReader> open_mds(std::shared_ptr<const BlobStore> store, const RecordOptions& options) {
  const std::string what = fmt::format("MDS data set {}", store->location());
  const auto blob = store->open(kIndexName);
  const auto view = blob->view(0, blob->size());
  auto index = parse_index({reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()},
                           fmt::format("MDS index {}", blob->name()));
  ShardLayout layout{.names = {}, .samples = {}, .fields = {}, .identity = index.identity};
  std::vector<std::string> names;
  std::ranges::transform(index.columns, std::back_inserter(names), &MdsColumn::name);
  std::vector<MdsField> wanted;
  for (const auto i : select_fields(what, names, options.fields)) {
    const auto& form = wanted.emplace_back(MdsField{i, form_of(what, index.columns[i])}).form;
    auto& field = layout.fields.emplace_back(StoredField{.name = names[i], .encoding = form.encoding});
    if (form.encoding == "raw") {
      field.dtype = *form.element->dtype;
      field.shape = *form.shape;
    }
  }
  for (const auto& entry : index.shards) {
    layout.names.push_back(entry.stored().name);
    layout.samples.push_back(entry.samples);
    // A wrong count would give every later sample another number. Behind a URL it is found at the shard's first use.
    if (is_local(*store)) check_count(*store->open(entry.stored().name), entry);
  }
  return std::make_unique<MdsReader>(what, std::move(layout), std::move(store), std::move(index), std::move(wanted));
}

}  // namespace lockstep
