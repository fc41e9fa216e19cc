// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/shard_writer.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "formats/shard_index.hpp"
#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/base/mapped_file.hpp"
#include "lockstep/base/split.hpp"
#include "lockstep/hdf5/file.hpp"
#include "pack/new_folder.hpp"
#include "pack/shard_stream.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kPieceBytes = 4 << 20;  // of a column, written at once

void check(bool ok, const char* call, const fs::path& path) {
  if (!ok) {
    throw IoError({.what = fmt::format("{} {}", call, path.string()),
                   .why = std::error_code(errno, std::generic_category()).message()});
  }
}

// A schema with a problem has no size to compare with; write_shards_from names it.
void check_columns(const fs::path& folder, std::int64_t samples, std::span<const FieldColumn> columns) {
  for (const auto& [schema, bytes] : columns) {
    if (!schema_problem(schema).empty()) continue;
    const auto of_sample = sample_bytes(schema);
    if (bytes.size() % of_sample != 0 || bytes.size() / of_sample != static_cast<std::uint64_t>(samples)) {
      throw UsageError({.what = fmt::format("write data set {}", folder.string()),
                        .why = fmt::format("field \"{}\" has {} bytes, not {} samples × {} bytes", schema.name,
                                           bytes.size(), samples, of_sample)});
    }
  }
}

// Sets where in the file the payload of each column and the checksums belong.
void lay_out_shard(const fs::path& path, std::span<const FieldSchema> fields, ShardEntry& entry) {
  auto file = hdf5::File::create(path);
  for (const auto& field : fields) {
    const std::string name = "/" + field.name;
    std::vector<std::int64_t> shape{entry.samples};
    shape.insert(shape.end(), field.shape.begin(), field.shape.end());
    file.create_dataset(name, field.dtype, shape);
    file.set_attribute(name, "scale", field.scale);
    file.set_attribute(name, "offset", field.offset);
    entry.offsets.push_back(file.dataset_info(name).file_offset);
  }
  const std::string checksums = std::string("/") + kChecksums;
  file.create_dataset(checksums, DType::int32, std::array{entry.samples, std::ssize(fields)});
  entry.checksums = file.dataset_info(checksums).file_offset;
  file.close();
}

std::int64_t samples_in_piece(std::span<const FieldSchema> fields) {
  std::uint64_t largest = 1;
  for (const auto& field : fields) largest = std::max(largest, sample_bytes(field));
  return static_cast<std::int64_t>(std::max<std::uint64_t>(1, kPieceBytes / largest));
}

// A file whose places are written in any order.
class PlacedFile {
 public:
  explicit PlacedFile(fs::path path) : path_(std::move(path)), file_(::open(path_.c_str(), O_WRONLY | O_CLOEXEC)) {
    check(static_cast<bool>(file_), "open", path_);
  }
  void write(std::uint64_t offset, std::span<const std::byte> bytes) {
    check(::lseek(file_.get(), static_cast<off_t>(offset), SEEK_SET) >= 0, "lseek", path_);
    write_all(file_.get(), bytes, path_);
  }

 private:
  const fs::path path_;
  const FileDescriptor file_;
};

// libhdf5 lays out the file, the payload goes by write(2): a full disk is then our error to handle, where libhdf5 would
// keep a half-closed dataset and crash at exit. Returns the shard's entry but for what is known of the whole file.
ShardEntry write_shard(const fs::path& path, Range range, std::span<const FieldSchema> fields, const ReadColumn& read) {
  ShardEntry entry{.file = path.filename().string(), .samples = range.size()};
  lay_out_shard(path, fields, entry);
  PlacedFile file(path);
  std::vector<std::uint32_t> checksums;  // [samples of the piece, fields]
  const auto step = samples_in_piece(fields);
  for (auto first = range.first; first < range.last; first += step) {
    const Range piece{first, std::min(first + step, range.last)};
    const auto row = static_cast<std::uint64_t>(first - range.first);
    checksums.assign(static_cast<std::size_t>(piece.size()) * fields.size(), 0);
    for (std::size_t f = 0; f < fields.size(); ++f) {
      const auto bytes = read(piece, f);
      const std::uint64_t of_sample = sample_bytes(fields[f]);
      for (std::size_t i = 0; i < static_cast<std::size_t>(piece.size()); ++i) {
        checksums[i * fields.size() + f] = crc32c(bytes.subspan(i * of_sample, of_sample));
      }
      file.write(entry.offsets[f] + row * of_sample, bytes);
    }
    file.write(entry.checksums + row * fields.size() * sizeof(checksums[0]), std::as_bytes(std::span(checksums)));
  }
  fsync_path(path);
  return entry;
}

}  // namespace

std::uint64_t write_shards_from(const fs::path& folder, std::int64_t samples, std::span<const FieldSchema> fields,
                                int shards, const ReadColumn& read) {
  NewFolder target(folder);
  if (shards < 1) {
    throw UsageError({.what = target.what(), .why = fmt::format("{} shards", shards), .fix = "ask for at least 1"});
  }
  for (const auto& field : fields) {
    if (auto problem = schema_problem(field); !problem.empty()) {
      throw UsageError({.what = target.what(), .why = std::move(problem)});
    }
  }
  ShardIndex index{.samples = samples, .fields = {fields.begin(), fields.end()}, .shards = {}};
  std::uint64_t bytes = 0;
  for (int i = 0; i < shards; ++i) {
    const Range range = even_split(samples, shards, i);
    const std::string name = fmt::format("shard-{:05}-of-{:05}.h5", i, shards);
    ShardEntry entry = write_shard(target.path() / name, range, fields, read);
    const MappedFile written(target.path() / name);
    entry.bytes = written.bytes().size();
    entry.crc32c = crc32c(written.bytes());
    bytes += entry.bytes;
    index.shards.push_back(std::move(entry));
  }
  write_file_durably(target.path() / kIndexFile, to_json_text(index));
  target.move_into_place();
  return bytes;
}

void write_shards(const fs::path& folder, std::int64_t samples, std::span<const FieldColumn> columns, int shards) {
  check_columns(folder, samples, columns);
  std::vector<FieldSchema> fields;
  for (const auto& column : columns) fields.push_back(column.schema);
  write_shards_from(folder, samples, fields, shards, [columns](Range range, std::size_t i) {
    const auto of_sample = sample_bytes(columns[i].schema);
    return columns[i].bytes.subspan(static_cast<std::size_t>(range.first) * of_sample,
                                    static_cast<std::size_t>(range.size()) * of_sample);
  });
}

}  // namespace lockstep
