// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/blob.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "lockstep/base/error.hpp"
#include "lockstep/base/mapped_file.hpp"
#include "store/blob_name.hpp"
#include "store/remote/remote_store.hpp"

namespace lockstep {
namespace {

constexpr std::uint64_t kLine = 64;
constexpr std::uint64_t kPrefetchBytes = 512;  // of a longer range the processor itself finds the rest

class LocalBlob final : public Blob {
 public:
  explicit LocalBlob(const std::filesystem::path& path) : name_(path.string()), file_(path) {}

  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] std::uint64_t size() const noexcept override { return file_.bytes().size(); }

  [[nodiscard]] BlobView view(std::uint64_t offset, std::uint64_t bytes) const override {
    if (offset > size() || bytes > size() - offset) {
      throw DataError({.what = fmt::format("bytes {} … {} of {}", offset, offset + bytes, name_),
                       .why = fmt::format("it has {} bytes", size()),
                       .fix = "the file is shorter than its index says: copy it again"});
    }
    return {.bytes = file_.bytes().subspan(offset, bytes)};
  }

  // From memory to the processor's caches: what random reads wait for. Pages that are on the disk only stay there.
  void prefetch(std::uint64_t offset, std::uint64_t bytes) const override {
    const std::uint64_t end = std::min({size(), offset + bytes, offset + kPrefetchBytes});
    for (std::uint64_t at = offset; at < end; at += kLine) __builtin_prefetch(file_.bytes().data() + at);
  }

  [[nodiscard]] bool refetch(std::uint64_t /*offset*/, std::uint64_t /*bytes*/) const override { return false; }

 private:
  const std::string name_;
  const MappedFile file_;
};

class LocalStore final : public BlobStore {
 public:
  explicit LocalStore(std::filesystem::path folder) : folder_(std::move(folder)), location_(folder_.string()) {
    if (!std::filesystem::is_directory(folder_)) {
      throw DataError({.what = fmt::format("data set {}", location_),
                       .why = std::filesystem::exists(folder_) ? "it is not a folder" : "there is no such folder",
                       .fix = "give the folder that holds its files"});
    }
  }

  [[nodiscard]] const std::string& location() const noexcept override { return location_; }

  [[nodiscard]] std::shared_ptr<const Blob> open(std::string_view name) const override {
    const auto path = folder_ / inside(name);
    if (!std::filesystem::is_regular_file(path)) {
      throw DataError({.what = fmt::format("{} of data set {}", name, location_),
                       .why = "there is no such file",
                       .fix = "copy the data set again"});
    }
    return std::make_shared<LocalBlob>(path);
  }

  [[nodiscard]] bool contains(std::string_view name) const override {
    return std::filesystem::is_regular_file(folder_ / inside(name));
  }

  [[nodiscard]] std::vector<std::string> list() const override {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      if (entry.is_regular_file()) names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
  }

 private:
  [[nodiscard]] std::filesystem::path inside(std::string_view name) const {
    check_blob_name(name, location_);
    return name;
  }

  const std::filesystem::path folder_;
  const std::string location_;
};

}  // namespace

std::shared_ptr<const BlobStore> open_store(const std::string& location, const RemoteOptions& options) {
  constexpr std::string_view kFile = "file://";
  if (remote::is_remote(location)) return remote::open_remote_store(location, options);
  if (location.starts_with(kFile)) return std::make_shared<LocalStore>(location.substr(kFile.size()));
  if (location.find("://") != location.npos) {
    throw UsageError({.what = "data set " + location,
                      .why = "its scheme is not known",
                      .fix = "give a path, file://, http://, https:// or s3://"});
  }
  return std::make_shared<LocalStore>(location);
}

}  // namespace lockstep
