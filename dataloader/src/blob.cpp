// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/blob.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "lockstep/base/error.hpp"
#include "mapped_file.hpp"

namespace lockstep {
namespace {

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
  // An index from elsewhere must not make us read outside of its folder.
  [[nodiscard]] std::filesystem::path inside(std::string_view name) const {
    const std::filesystem::path path(name);
    if (path.empty() || path.is_absolute() || std::ranges::find(path, "..") != path.end()) {
      throw DataError({.what = fmt::format("\"{}\" of data set {}", name, location_),
                       .why = "the name leads out of the data set's folder",
                       .fix = "use names relative to the folder, without \"..\""});
    }
    return path;
  }

  const std::filesystem::path folder_;
  const std::string location_;
};

}  // namespace

std::shared_ptr<const BlobStore> open_store(const std::string& location, const RemoteOptions& /*options*/) {
  constexpr std::string_view kFile = "file://";
  return std::make_shared<LocalStore>(location.starts_with(kFile) ? location.substr(kFile.size()) : location);
}

}  // namespace lockstep
