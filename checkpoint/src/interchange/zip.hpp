// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "interchange/export_file.hpp"

namespace lockstep {

// The part of the ZIP format that PyTorch's files use: entries that are stored, not compressed.

// The bytes of every entry of `file`, by name. Pure. Throws DataError for a file that is damaged, compressed, encrypted
// or has a name twice.
[[nodiscard]] std::map<std::string_view, std::span<const std::byte>> stored_entries(std::span<const std::byte> file);

// Appends entries, each at a multiple of 64 bytes, so that their mapped bytes can be used as they are. ZIP64
// throughout: one form for files of any size.
class ZipWriter {
 public:
  explicit ZipWriter(ExportFile& file) : file_(file) {}
  void add(const std::string& name, std::span<const std::byte> bytes);
  void add(const std::string& name, std::string_view text) { add(name, std::as_bytes(std::span(text))); }
  void finish();

 private:
  struct Entry {
    std::string name;
    std::uint32_t crc = 0;
    std::uint64_t bytes = 0;
    std::uint64_t offset = 0;
  };
  ExportFile& file_;
  std::vector<Entry> entries_;
};

}  // namespace lockstep
