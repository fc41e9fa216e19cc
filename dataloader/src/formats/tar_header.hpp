// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lockstep/dataloader/blob.hpp"

namespace lockstep {

inline constexpr std::uint64_t kTarBlock = 512;  // bytes; headers and data start at multiples of it

// A regular file in a tar file.
struct TarEntry {
  std::string_view name;     // valid until the walker goes on
  std::uint64_t offset = 0;  // of its data in the tar file, right behind its header
  std::uint64_t bytes = 0;   // of its data, which lies inside the tar file
};

// Goes from header to header: ustar, pax and GNU's long names. Every header's checksum, size and place is checked; what
// is not a regular file is stepped over.
class TarWalker {
 public:
  // `offset`: of a header.
  explicit TarWalker(const Blob& tar, std::uint64_t offset = 0) noexcept : tar_(tar), position_(offset) {}

  // Nothing at the end of the archive. Throws DataError naming file and byte: a damaged header, a truncated file, a
  // sparse file or one in several volumes.
  [[nodiscard]] std::optional<TarEntry> next();

  [[nodiscard]] std::uint32_t digest() const noexcept { return digest_; }  // CRC-32C of the headers so far

 private:
  [[noreturn]] void fail(const std::string& why) const;
  std::span<const std::byte> view(std::uint64_t offset, std::uint64_t bytes);
  std::span<const std::byte> header();
  std::string_view meta_data(std::uint64_t bytes);
  void read_pax(std::string_view records);
  void check_end();

  const Blob& tar_;
  std::uint64_t position_;  // of the next header
  BlobView window_{};       // the bytes around it …
  std::uint64_t window_offset_ = 0;
  std::string name_;
  std::optional<std::string> long_name_{};    // for the next file, by pax or GNU
  std::optional<std::uint64_t> long_size_{};  // for the next file, by pax
  std::uint32_t digest_ = 0;
};

// The name of the file whose data starts at `offset`; empty if its header cannot be read.
[[nodiscard]] std::string tar_name_at(const Blob& tar, std::uint64_t offset);

}  // namespace lockstep
