// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "formats/formats.hpp"
#include "formats/sharded_reader.hpp"
#include "lockstep/hdf5/file.hpp"
#include "lockstep/hdf5/rows.hpp"

namespace lockstep {
namespace {

// Of what is decompressed, where the file's size is no bound.
constexpr std::uint64_t kMostRowBytes = std::uint64_t{1} << 30;

struct Hdf5Shard {
  std::shared_ptr<const Blob> blob;
  std::vector<std::string> names;
  std::vector<hdf5::Rows> fields;
};

[[noreturn]] void fail(std::string what, std::string why, std::string fix) {
  throw DataError({.what = std::move(what), .why = std::move(why), .fix = std::move(fix)});
}

std::vector<std::string> root_datasets(const hdf5::File& file) {
  auto names = file.datasets();
  std::erase_if(names, [](const std::string& path) { return path.find('/', 1) != std::string::npos; });
  std::ranges::transform(names, names.begin(), [](const std::string& path) { return path.substr(1); });
  return names;
}

// Every row of the file is inside of it: checked once here, so that views cannot fail later.
void check_inside(const Blob& blob, const std::string& field, const hdf5::Rows& rows) {
  const auto bytes =
      rows.row_bytes() * static_cast<std::uint64_t>(rows.shape().front());  // does not overflow, says Rows
  if (*rows.file_offset() > blob.size() || bytes > blob.size() - *rows.file_offset()) {
    fail(blob.name(), fmt::format("dataset {} reaches past the end of the file", field), "copy the file again");
  }
}

Hdf5Shard open_shard(std::shared_ptr<const Blob> blob, bool local, const std::vector<std::string>& wanted) {
  // A remote file is fetched whole to find its datasets; the bytes are then read from where the store keeps them.
  const auto file =
      local ? hdf5::File::open(blob->name()) : hdf5::File::open_image(blob->view(0, blob->size()).bytes, blob->name());
  Hdf5Shard shard{.blob = std::move(blob), .names = wanted.empty() ? root_datasets(file) : wanted, .fields = {}};
  for (const auto& name : shard.names) {
    const auto& rows = shard.fields.emplace_back(file, "/" + name);
    if (rows.file_offset()) {
      check_inside(*shard.blob, name, rows);
    } else if (!local) {
      fail(fmt::format("{}, dataset {}", shard.blob->name(), name),
           "it is chunked, compressed or of another byte order, which is read from local files only",
           "download the file, or pack it into shards");
    }
    if (!rows.file_offset() && rows.row_bytes() > kMostRowBytes) {
      fail(fmt::format("{}, dataset {}", shard.blob->name(), name),
           fmt::format("a sample of it has {} bytes", rows.row_bytes()), "name the fields of a sample");
    }
    if (rows.shape().front() != shard.fields.front().shape().front()) {
      fail(fmt::format("{}, dataset {}", shard.blob->name(), name),
           fmt::format("its first dimension is {}, of the first field {}", rows.shape().front(),
                       shard.fields.front().shape().front()),
           "name the fields of a sample");
    }
  }
  if (shard.fields.empty()) fail(shard.blob->name(), "there is no dataset in its root group", "name the fields");
  return shard;
}

std::vector<StoredField> fields_of(const Hdf5Shard& shard) {
  std::vector<StoredField> fields;
  for (std::size_t i = 0; i < shard.names.size(); ++i) {
    const auto& rows = shard.fields[i];
    fields.push_back({.name = shard.names[i],
                      .encoding = "raw",
                      .dtype = rows.dtype(),
                      .shape = {rows.shape().begin() + 1, rows.shape().end()}});
  }
  return fields;
}

class Hdf5Reader final : public ShardedReader {
 public:
  Hdf5Reader(const std::string& what, ShardLayout layout, std::vector<Hdf5Shard> shards)
      : ShardedReader(what, std::move(layout)), shards_(std::move(shards)) {}

  void read(std::int64_t sample, Record& record) const override {
    const auto [place, row] = locate(sample);
    const auto& shard = shards_[place];
    clear(record, shard.fields.size());
    std::uint64_t gathered = 0;
    for (const auto& rows : shard.fields) {
      gathered += rows.file_offset() ? 0 : rows.row_bytes();
    }
    record.buffer.resize(gathered);  // once: spans into it follow
    std::span<std::byte> free(record.buffer);
    for (std::size_t i = 0; i < shard.fields.size(); ++i) {
      const auto& rows = shard.fields[i];
      if (const auto offset = rows.file_offset()) {
        auto view = shard.blob->view(*offset + static_cast<std::uint64_t>(row) * rows.row_bytes(), rows.row_bytes());
        record.fields[i] = view.bytes;
        record.keeps.push_back(std::move(view.keeps));
      } else {
        record.fields[i] = free.first(rows.row_bytes());
        read_row(rows, row, free.first(rows.row_bytes()));
        free = free.subspan(rows.row_bytes());
      }
    }
  }

 private:
  static void read_row(const hdf5::Rows& rows, std::int64_t row, std::span<std::byte> bytes) {
    try {
      rows.read(row, bytes);
    } catch (const IoError& error) {  // a chunk whose filter refuses it: other samples may be well
      throw DamagedSample(error.text());
    }
  }

  const std::vector<Hdf5Shard> shards_;
};

std::string_view usual_suffix(const BlobStore& store, const RecordOptions& options) {
  if (!options.files.empty()) return ".h5";  // not asked for
  const auto names = store.list();
  return std::ranges::any_of(names, [](const std::string& name) { return name.ends_with(".h5"); }) ? ".h5" : ".hdf5";
}

}  // namespace

std::unique_ptr<const RecordReader> open_hdf5(std::shared_ptr<const BlobStore> store, const RecordOptions& options) {
  const std::string what = fmt::format("HDF5 files of {}", store->location());
  ShardLayout layout{.names = data_files(*store, options, usual_suffix(*store, options)),
                     .samples = {},
                     .fields = {},
                     .identity = "hdf5"};
  std::vector<Hdf5Shard> shards;
  auto wanted = options.fields;
  for (const auto& name : layout.names) {
    auto shard = open_shard(store->open(name), is_local(*store), wanted);
    wanted = shard.names;
    auto fields = fields_of(shard);
    const auto same = [](const auto& a, const auto& b) { return a.dtype == b.dtype && a.shape == b.shape; };
    if (!shards.empty() && !std::ranges::equal(fields, layout.fields, same)) {
      fail(name, fmt::format("its datasets have other types or shapes than those of {}", layout.names.front()),
           "read them as two sources");
    }
    layout.samples.push_back(shard.fields.front().shape().front());
    layout.identity += fmt::format("\n{} {} {}", name, shard.blob->size(), layout.samples.back());
    layout.fields = std::move(fields);
    shards.push_back(std::move(shard));
  }
  layout.identity += fmt::format("\n{}", fmt::join(wanted, " "));
  return std::make_unique<Hdf5Reader>(what, std::move(layout), std::move(shards));
}

}  // namespace lockstep
