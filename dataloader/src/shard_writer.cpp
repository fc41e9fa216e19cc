// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/shard_writer.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/base/split.hpp"
#include "lockstep/hdf5/file.hpp"
#include "mapped_file.hpp"
#include "shard_index.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

void check(const std::error_code& error, const char* call, const fs::path& path) {
  if (error) {
    throw IoError({.what = fmt::format("{} {}", call, path.string()), .why = error.message()});
  }
}

std::error_code last_error() { return {errno, std::generic_category()}; }

// A folder that disappears with all its content unless it was moved to its final name.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(fs::path path) : path_(std::move(path)) {
    std::error_code error;
    fs::remove_all(path_, error);  // left by a killed process that had our process id
    check(error, "remove", path_);
    fs::create_directories(path_, error);
    check(error, "create folder", path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);  // does nothing after move_to
  }

  void move_to(const fs::path& target) {
    std::error_code error;
    fs::rename(path_, target, error);
    check(error, "rename to", target);
    fsync_path(target.parent_path());
  }

  [[nodiscard]] const fs::path& path() const noexcept { return path_; }

 private:
  fs::path path_;
};

void check_columns(const std::string& what, std::int64_t samples, std::span<const FieldColumn> columns) {
  for (const auto& [schema, bytes] : columns) {
    if (auto problem = schema_problem(schema); !problem.empty()) {
      throw UsageError({.what = what, .why = std::move(problem)});
    }
    const auto of_sample = sample_bytes(schema);
    if (bytes.size() % of_sample != 0 || bytes.size() / of_sample != static_cast<std::uint64_t>(samples)) {
      throw UsageError({.what = what,
                        .why = fmt::format("field \"{}\" has {} bytes, not {} samples × {} bytes", schema.name,
                                           bytes.size(), samples, of_sample)});
    }
  }
}

// Returns where the payload of each column belongs in the file.
std::vector<std::uint64_t> lay_out_shard(const fs::path& path, Range range, std::span<const FieldColumn> columns) {
  auto file = hdf5::File::create(path);
  std::vector<std::uint64_t> offsets;
  for (const auto& [schema, bytes] : columns) {
    const std::string name = "/" + schema.name;
    std::vector<std::int64_t> shape{range.size()};
    shape.insert(shape.end(), schema.shape.begin(), schema.shape.end());
    file.create_dataset(name, schema.dtype, shape);
    file.set_attribute(name, "scale", schema.scale);
    file.set_attribute(name, "offset", schema.offset);
    offsets.push_back(file.dataset_info(name).file_offset);
  }
  file.close();
  return offsets;
}

// libhdf5 lays out the file, the payload goes by write(2): a full disk is then our error to handle, where libhdf5 would
// keep a half-closed dataset and crash at exit.
void write_shard(const fs::path& path, Range range, std::span<const FieldColumn> columns) {
  const auto offsets = lay_out_shard(path, range, columns);
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  check(file ? std::error_code{} : last_error(), "open", path);
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto of_sample = sample_bytes(columns[i].schema);
    check(::lseek(file.get(), static_cast<off_t>(offsets[i]), SEEK_SET) < 0 ? last_error() : std::error_code{}, "lseek",
          path);
    write_all(file.get(),
              columns[i].bytes.subspan(static_cast<std::size_t>(range.first) * of_sample,
                                       static_cast<std::size_t>(range.size()) * of_sample),
              path);
  }
  fsync_path(path);
}

}  // namespace

void write_shards(const fs::path& folder, std::int64_t samples, std::span<const FieldColumn> columns, int shards) {
  std::error_code error;
  fs::path target = fs::absolute(folder, error).lexically_normal();
  check(error, "find", folder);
  if (!target.has_filename()) {
    target = target.parent_path();  // "train/" is "train"
  }
  const std::string what = fmt::format("write data set {}", target.string());
  if (fs::exists(fs::symlink_status(target, error))) {
    throw UsageError({.what = what, .why = "it exists", .fix = "remove it, or choose another folder"});
  }
  if (shards < 1) {
    throw UsageError({.what = what, .why = fmt::format("{} shards", shards), .fix = "ask for at least 1"});
  }
  check_columns(what, samples, columns);

  TemporaryFolder temporary(fmt::format("{}.tmp-{}", target.string(), ::getpid()));
  ShardIndex index{.samples = samples, .fields = {}, .shards = {}};
  for (const auto& column : columns) {
    index.fields.push_back(column.schema);
  }
  for (int i = 0; i < shards; ++i) {
    const Range range = even_split(samples, shards, i);
    const std::string name = fmt::format("shard-{:05}-of-{:05}.h5", i, shards);
    write_shard(temporary.path() / name, range, columns);
    const MappedFile written(temporary.path() / name);
    index.shards.push_back({name, range.size(), written.bytes().size(), crc32c(written.bytes())});
  }
  write_file_durably(temporary.path() / kIndexFile, to_json_text(index));
  temporary.move_to(target);
}

}  // namespace lockstep
