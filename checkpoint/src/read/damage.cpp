// SPDX-License-Identifier: Apache-2.0
#include "read/damage.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

constexpr std::size_t kNamed = 16;  // a block of 64 KiB may hold thousands of small tensors

// Tells which pieces damage somewhere in [first, last) of a file is in.
class Suspicion {
 public:
  Suspicion(const StoredFile& file, std::uint64_t first, std::uint64_t last)
      : file_(file), first_(first), last_(last), left_(file.bytes()) {}

  [[nodiscard]] bool falls_on(const PieceRecord& piece, std::uint64_t bytes) {
    if (piece.offset >= last_ || piece.offset + bytes <= first_) return false;
    if (piece.offset <= first_ && piece.offset + bytes >= last_) return true;
    if (bytes > left_) return true;
    left_ -= bytes;
    try {
      return file_.checksum(piece.offset, bytes) != piece.crc;
    } catch (const IoError&) {
      return true;
    }
  }

 private:
  const StoredFile& file_;
  std::uint64_t first_;
  std::uint64_t last_;
  std::uint64_t left_;  // bytes to be read: pieces of a forged manifest may overlap without end
};

}  // namespace

void throw_damaged(const Manifest& manifest, std::size_t index, const StoredFile& file, std::uint64_t first,
                   std::uint64_t last) {
  Suspicion suspicion(file, first, last);
  std::vector<std::string_view> names;
  for (const auto* records : {&manifest.tensors, &manifest.stored_blobs}) {
    for (const TensorRecord& record : *records) {
      for (const PieceRecord& piece : record.pieces) {
        const std::uint64_t bytes = static_cast<std::uint64_t>(piece.elements) * size_of(record.dtype);
        if (piece.file != index || !suspicion.falls_on(piece, bytes)) continue;
        names.push_back(record.name);
        break;
      }
    }
  }
  if (names.empty()) names.emplace_back("metadata");
  const std::size_t more = names.size() - std::min(names.size(), kNamed);
  names.resize(names.size() - more);
  throw CheckpointError(
      {.what = fmt::format("read {}", file.path().string()),
       .why = fmt::format("bytes {} to {} do not match their CRC-32C; damaged: {}{}", first, last - 1,
                          fmt::join(names, ", "), more > 0 ? fmt::format(" and {} more", more) : ""),
       .fix = file.path().filename() == kIndexName ? "lockstep ckpt repair makes it anew" : kUseAnother});
}

}  // namespace lockstep
