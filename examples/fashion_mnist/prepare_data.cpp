// SPDX-License-Identifier: Apache-2.0
#include "prepare_data.hpp"

#include <filesystem>
#include <lockstep/dataloader/idx.hpp>
#include <lockstep/dataloader/shard_writer.hpp>

namespace fs = std::filesystem;

namespace {

fs::path find_idx(const fs::path& source, const std::string& name) {
  const fs::path plain = source / name;
  return fs::exists(plain) ? plain : source / (name + ".gz");
}

void pack(const fs::path& source, const std::string& prefix, const fs::path& folder, int shards) {
  const lockstep::IdxFile images = lockstep::read_idx(find_idx(source, prefix + "-images-idx3-ubyte"));
  const lockstep::IdxFile labels = lockstep::read_idx(find_idx(source, prefix + "-labels-idx1-ubyte"));
  if (images.shape.size() != 3 || labels.shape != std::vector<std::int64_t>{images.shape[0]}) {
    throw lockstep::DataError({.what = source.string(),
                               .why = "the numbers of images and labels of " + prefix + " differ",
                               .fix = "fetch the data set again"});
  }
  const std::vector<lockstep::FieldColumn> columns{
      {.schema = {.name = "data",
                  .shape = {1, images.shape[1], images.shape[2]},
                  .scale = 1.0 / 255.0},  // bytes become 0 … 1
       .bytes = images.bytes},
      {.schema = {.name = "target", .shape = {}, .delivered = lockstep::DType::int64}, .bytes = labels.bytes}};
  lockstep::write_shards(folder, images.shape[0], columns, shards);
}

}  // namespace

void prepare_data(lockstep::Runtime& rt, const std::string& path, const std::string& source) {
  if (rt.rank() == 0) {
    const fs::path train = fs::path(path) / "train";
    const fs::path test = fs::path(path) / "test";
    if (!fs::exists(train) || !fs::exists(test)) {
      if (!fs::is_directory(source)) {
        throw lockstep::DataError(
            {.what = "data.path=" + path,
             .why = "there are no shards, and data.source=" + source + " is not a folder with IDX files",
             .fix = "install the Debian package dataset-fashion-mnist, or give data.source=DIR"});
      }
      rt.log().info("packing " + source + " into shards below " + path);
      if (!fs::exists(train)) pack(source, "train", train, 8);
      if (!fs::exists(test)) pack(source, "t10k", test, 1);
    }
  }
  rt.world().barrier();
}
