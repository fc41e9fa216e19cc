// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/shard_writer.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/base/split.hpp"
#include "lockstep/hdf5/file.hpp"
#include "mapped_file.hpp"
#include "new_folder.hpp"
#include "shard_index.hpp"
#include "shard_stream.hpp"

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

// Returns where the payload of each column belongs in the file.
std::vector<std::uint64_t> lay_out_shard(const fs::path& path, Range range, std::span<const FieldSchema> fields) {
  auto file = hdf5::File::create(path);
  std::vector<std::uint64_t> offsets;
  for (const auto& field : fields) {
    const std::string name = "/" + field.name;
    std::vector<std::int64_t> shape{range.size()};
    shape.insert(shape.end(), field.shape.begin(), field.shape.end());
    file.create_dataset(name, field.dtype, shape);
    file.set_attribute(name, "scale", field.scale);
    file.set_attribute(name, "offset", field.offset);
    offsets.push_back(file.dataset_info(name).file_offset);
  }
  file.close();
  return offsets;
}

std::int64_t samples_in_piece(std::span<const FieldSchema> fields) {
  std::uint64_t largest = 1;
  for (const auto& field : fields) largest = std::max(largest, sample_bytes(field));
  return static_cast<std::int64_t>(std::max<std::uint64_t>(1, kPieceBytes / largest));
}

// libhdf5 lays out the file, the payload goes by write(2): a full disk is then our error to handle, where libhdf5 would
// keep a half-closed dataset and crash at exit.
void write_shard(const fs::path& path, Range range, std::span<const FieldSchema> fields, const ReadColumn& read) {
  auto offsets = lay_out_shard(path, range, fields);
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  check(static_cast<bool>(file), "open", path);
  const auto step = samples_in_piece(fields);
  for (auto first = range.first; first < range.last; first += step) {
    const Range piece{first, std::min(first + step, range.last)};
    for (std::size_t i = 0; i < fields.size(); ++i) {
      const auto bytes = read(piece, i);
      check(::lseek(file.get(), static_cast<off_t>(offsets[i]), SEEK_SET) >= 0, "lseek", path);
      write_all(file.get(), bytes, path);
      offsets[i] += bytes.size();
    }
  }
  fsync_path(path);
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
    write_shard(target.path() / name, range, fields, read);
    const MappedFile written(target.path() / name);
    index.shards.push_back({name, range.size(), written.bytes().size(), crc32c(written.bytes())});
    bytes += written.bytes().size();
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
