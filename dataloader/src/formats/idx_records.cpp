// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

#include "formats/formats.hpp"
#include "formats/sharded_reader.hpp"
#include "lockstep/base/crc32c.hpp"
#include "lockstep/dataloader/idx.hpp"

namespace lockstep {
namespace {

constexpr std::string_view kImages = "-images-idx";
constexpr std::string_view kLabels = "-labels-idx1-ubyte";

struct Pair {
  std::string images;
  std::string labels;
};

[[noreturn]] void fail(const std::string& what, std::string why, std::string fix) {
  throw DataError({.what = what, .why = std::move(why), .fix = std::move(fix)});
}

std::vector<Pair> find_pairs(const BlobStore& store, const RecordOptions& options, const std::string& what) {
  auto images = options.files.empty() ? store.list() : options.files;
  std::erase_if(images, [](const std::string& name) { return name.find(kImages) == std::string::npos; });
  if (images.empty()) {
    fail(what, fmt::format("no file of it is called NAME{}3-ubyte", kImages), "give a folder with such files");
  }
  if (options.files.empty() && images.size() > 1) {
    fail(what, fmt::format("it holds {}", fmt::join(images, " and ")), "name the one to use in `files`");
  }
  std::vector<Pair> pairs;
  for (const auto& name : images) {
    const auto labels = fmt::format("{}{}", name.substr(0, name.find(kImages)), kLabels);
    const auto other = labels + ".gz";
    if (!store.contains(labels) && !store.contains(other)) {
      fail(what, fmt::format("{} has no {}", name, labels), "put it beside the images");
    }
    pairs.push_back({.images = name, .labels = store.contains(labels) ? labels : other});
  }
  return pairs;
}

StoredField field_of(std::string name, const IdxFile& file) {
  return {.name = std::move(name),
          .encoding = "raw",
          .dtype = file.dtype,
          .shape = {file.shape.begin() + 1, file.shape.end()}};
}

std::uint64_t row_bytes(const IdxFile& file) {
  return file.shape.front() == 0 ? 0 : file.bytes.size() / static_cast<std::uint64_t>(file.shape.front());
}

using Shard = std::array<IdxFile, 2>;  // data, target

class IdxReader final : public ShardedReader {
 public:
  IdxReader(const std::string& what, ShardLayout layout, std::vector<std::size_t> wanted, std::vector<Shard> shards)
      : ShardedReader(what, std::move(layout)), wanted_(std::move(wanted)), shards_(std::move(shards)) {}

  void read(std::int64_t sample, Record& record) const override {
    const auto [shard, row] = locate(sample);
    clear(record, fields().size());
    for (std::size_t i = 0; i < record.fields.size(); ++i) {
      const auto& file = shards_[shard][wanted_[i]];
      record.fields[i] =
          std::span(file.bytes).subspan(static_cast<std::uint64_t>(row) * row_bytes(file), row_bytes(file));
    }
  }

 private:
  const std::vector<std::size_t> wanted_;  // files of a shard, of each field
  const std::vector<Shard> shards_;
};

}  // namespace

std::unique_ptr<const RecordReader> open_idx(std::shared_ptr<const BlobStore> store, const RecordOptions& options) {
  const std::string what = fmt::format("IDX files of {}", store->location());
  if (!is_local(*store)) fail(what, "they are read from local folders only", "download them, or pack them into shards");
  const auto wanted = select_fields(what, {"data", "target"}, options.fields);
  ShardLayout layout{.names = {}, .samples = {}, .fields = {}, .identity = "idx"};
  std::vector<Shard> shards;
  const std::filesystem::path folder(store->location());
  for (const auto& [images, labels] : find_pairs(*store, options, what)) {
    Shard files{read_idx(folder / images), read_idx(folder / labels)};
    if (files[0].shape.front() != files[1].shape.front()) {
      fail(what,
           fmt::format("{} holds {} samples, {} {}", images, files[0].shape.front(), labels, files[1].shape.front()),
           "download both again");
    }
    std::vector<StoredField> fields;
    for (const auto i : wanted) {
      layout.identity += fmt::format("\n{} {:08x}", i == 0 ? images : labels, crc32c(files[i].bytes));
      fields.push_back(field_of(i == 0 ? "data" : "target", files[i]));
    }
    layout.names.push_back(images);
    layout.samples.push_back(files[0].shape.front());
    shards.push_back(std::move(files));
    const auto same = [](const StoredField& a, const StoredField& b) {
      return a.dtype == b.dtype && a.shape == b.shape;
    };
    if (!layout.fields.empty() && !std::ranges::equal(layout.fields, fields, same)) {
      fail(what, fmt::format("{} has other shapes or types than {}", images, layout.names.front()),
           "read them as two sources");
    }
    layout.fields = std::move(fields);
  }
  return std::make_unique<IdxReader>(what, std::move(layout), wanted, std::move(shards));
}

}  // namespace lockstep
