// SPDX-License-Identifier: Apache-2.0
#include "lockstep/checkpoint/writer.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <random>
#include <system_error>

#include "failure.hpp"
#include "format/dataset_plan.hpp"
#include "format/manifest.hpp"
#include "format/step_folder.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/base/version.hpp"
#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/hdf5/file.hpp"
#include "read/stored_file.hpp"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// A folder beside the final one, removed with all in it unless it got its final name.
class TemporaryFolder {
 public:
  TemporaryFolder(const fs::path& folder, const std::string& final_name)
      : path_(folder / fmt::format("{}{}{}-{:08x}", final_name, kUnfinishedMark, ::getpid(), std::random_device{}())) {
    fs::create_directory(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;  // what stays behind is removed by remove_unfinished_checkpoints
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }

  [[nodiscard]] const fs::path& path() const noexcept { return path_; }
  void rename_to(const fs::path& final_path) {
    fs::rename(path_, final_path);
    path_.clear();
  }

 private:
  fs::path path_;
};

// A new folder is only durable once its parent is.
void create_folder_durably(const fs::path& folder) {
  if (fs::exists(folder)) return;
  const fs::path parent = fs::absolute(folder).parent_path();
  create_folder_durably(parent);
  fs::create_directory(folder);
  fsync_path(parent);
}

// Writes the HDF5 file and fills in the offsets of `datasets`. On return its bytes are on the disk.
void write_datasets(const fs::path& path, std::vector<PlannedDataset>& datasets) {
  hdf5::File file = hdf5::File::create(path);
  for (auto& [record, data] : datasets) {
    file.create_dataset(record.name, record.dtype, record.shape);
    if (data.empty()) continue;
    file.write_dataset(record.name, data);
    record.offset = file.dataset_info(record.name).file_offset;
  }
  file.close();
  fsync_path(path);
}

// The record of the finished file, after a look that the reader will find in it what the caller has in memory.
PayloadRecord inspect_payload(const fs::path& path, const std::vector<PlannedDataset>& datasets) {
  const StoredFile file(path);
  for (const auto& [record, data] : datasets) {
    if (file.checksum(record.offset, record.bytes) != record.crc) {
      throw IoError({.what = fmt::format("write {} to {}", record.name, path.string()),
                     .why = "the file's bytes differ from those in memory",
                     .fix = "leave a tensor alone while it is saved; if nothing changed it, check the disk"});
    }
  }
  PayloadRecord payload{.file = path.filename().string(), .bytes = file.bytes()};
  payload.block_crcs = file.block_checksums(payload.block_bytes);
  return payload;
}

Manifest make_manifest(const CheckpointContents& contents, const std::vector<PlannedDataset>& datasets,
                       PayloadRecord payload) {
  Manifest manifest{.lockstep = std::string(version()),
                    .step = contents.step,
                    .world_size = contents.world_size,
                    .seed = contents.seed,
                    .determinism = contents.determinism,
                    .payload = std::move(payload)};
  for (const auto& [record, data] : datasets) {
    (is_blob_name(record.name) ? manifest.blobs : manifest.tensors).push_back(record);
  }
  return manifest;
}

bool holds_good_checkpoint(const fs::path& folder, std::int64_t step) {
  if (!fs::is_directory(fs::symlink_status(folder / step_name(step)))) return false;
  try {
    static_cast<void>(open_step(folder, step));
    return true;
  } catch (const CheckpointError&) {
    return false;
  }
}

}  // namespace

fs::path write_checkpoint(const fs::path& folder, const CheckpointContents& contents) {
  std::vector<PlannedDataset> datasets = plan_datasets(contents);
  const fs::path final_path = folder / step_name(contents.step);
  try {
    if (holds_good_checkpoint(folder, contents.step)) return final_path;
    create_folder_durably(folder);
    TemporaryFolder temporary(folder, step_name(contents.step));
    const fs::path payload_path = temporary.path() / PayloadRecord{}.file;
    write_datasets(payload_path, datasets);
    const Manifest manifest = make_manifest(contents, datasets, inspect_payload(payload_path, datasets));
    // Last, because a folder with a manifest claims to be complete. It fsyncs the temporary folder, too.
    write_file_durably(temporary.path() / kManifestName, print_manifest(manifest));
    if (fs::exists(fs::symlink_status(final_path))) set_aside(final_path);
    temporary.rename_to(final_path);
    fsync_path(folder);
    return final_path;
  } catch (...) {
    rethrow_as_checkpoint_error(fmt::format("write checkpoint {}", final_path.string()),
                                fmt::format("check the space and permissions of {}", folder.string()));
  }
}

void remove_unfinished_checkpoints(const fs::path& folder) {
  try {
    if (!fs::exists(folder)) return;
    std::vector<fs::path> unfinished;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      if (is_unfinished_name(entry.path().filename().string())) unfinished.push_back(entry.path());
    }
    for (const fs::path& path : unfinished) fs::remove_all(path);
  } catch (...) {
    rethrow_as_checkpoint_error(fmt::format("remove unfinished checkpoints in {}", folder.string()),
                                "check its permissions");
  }
}

}  // namespace lockstep
