// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lockstep/base/error.hpp"
#include "lockstep/dataloader/blob.hpp"

namespace lockstep {

// Blobs in memory, whose good bytes can be fetched again.
class MemoryStore final : public BlobStore {
 public:
  void put(const std::string& name, std::string bytes) { files_[name] = std::make_shared<File>(File{bytes, bytes}); }
  // What is cached; the copy to fetch again stays good.
  std::string& cached(const std::string& name) { return files_.at(name)->cached; }
  std::string& origin(const std::string& name) { return files_.at(name)->origin; }

  [[nodiscard]] const std::string& location() const noexcept override { return location_; }
  [[nodiscard]] std::shared_ptr<const Blob> open(std::string_view name) const override {
    return std::make_shared<MemoryBlob>(std::string(name), files_.at(std::string(name)));
  }
  [[nodiscard]] bool contains(std::string_view name) const override { return files_.contains(std::string(name)); }
  [[nodiscard]] std::vector<std::string> list() const override {
    std::vector<std::string> names;
    for (const auto& [name, file] : files_) names.push_back(name);
    return names;
  }

 private:
  struct File {
    std::string cached;
    std::string origin;
  };
  class MemoryBlob final : public Blob {
   public:
    MemoryBlob(std::string name, std::shared_ptr<File> file) : name_(std::move(name)), file_(std::move(file)) {}
    [[nodiscard]] const std::string& name() const noexcept override { return name_; }
    [[nodiscard]] std::uint64_t size() const noexcept override { return file_->cached.size(); }
    [[nodiscard]] BlobView view(std::uint64_t offset, std::uint64_t bytes) const override {
      // A copy of exactly these bytes: a sanitizer sees every read beyond them.
      const auto copy = std::make_shared<std::string>(file_->cached.substr(offset, bytes));
      if (copy->size() != bytes) throw DataError({.what = name_, .why = "view outside of the blob"});
      return {.bytes = std::as_bytes(std::span(*copy)), .keeps = copy};
    }
    [[nodiscard]] bool refetch(std::uint64_t offset, std::uint64_t bytes) const override {
      file_->cached.replace(offset, bytes, file_->origin.substr(offset, bytes));
      return true;
    }

   private:
    const std::string name_;
    const std::shared_ptr<File> file_;
  };

  const std::string location_ = "memory";
  std::map<std::string, std::shared_ptr<File>> files_;
};

}  // namespace lockstep
