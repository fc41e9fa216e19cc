// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/base/error.hpp"
#include "lockstep/dataloader/blob.hpp"

namespace lockstep::fuzz {

// Exactly as many bytes as there are, so that a read past them is found.
class MemoryBlob final : public Blob {
 public:
  MemoryBlob(std::string name, std::string_view bytes) : name_(std::move(name)), bytes_(bytes.size()) {
    std::ranges::copy(std::as_bytes(std::span(bytes)), bytes_.begin());
  }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] std::uint64_t size() const noexcept override { return bytes_.size(); }
  [[nodiscard]] BlobView view(std::uint64_t offset, std::uint64_t bytes) const override {
    if (offset > size() || bytes > size() - offset) throw DataError({.what = name_, .why = "outside"});
    return {.bytes = std::span(bytes_).subspan(offset, bytes)};
  }
  [[nodiscard]] bool refetch(std::uint64_t /*offset*/, std::uint64_t /*bytes*/) const override { return false; }

 private:
  const std::string name_;
  std::vector<std::byte> bytes_;
};

class MemoryStore final : public BlobStore {
 public:
  MemoryStore& add(const std::string& name, std::string_view bytes) {
    blobs_.push_back(std::make_shared<MemoryBlob>(name, bytes));
    return *this;
  }
  [[nodiscard]] const std::string& location() const noexcept override { return location_; }
  [[nodiscard]] std::shared_ptr<const Blob> open(std::string_view name) const override {
    const auto found = std::ranges::find(blobs_, name, &Blob::name);
    if (found == blobs_.end()) throw DataError({.what = std::string(name), .why = "there is no such file"});
    return *found;
  }
  [[nodiscard]] bool contains(std::string_view name) const override {
    return std::ranges::find(blobs_, name, &Blob::name) != blobs_.end();
  }
  [[nodiscard]] std::vector<std::string> list() const override {
    std::vector<std::string> names;
    for (const auto& blob : blobs_) names.push_back(blob->name());
    return names;
  }

 private:
  const std::string location_ = "memory";
  std::vector<std::shared_ptr<const Blob>> blobs_;
};

}  // namespace lockstep::fuzz
