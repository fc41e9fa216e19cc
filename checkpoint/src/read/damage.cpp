// SPDX-License-Identifier: Apache-2.0
#include "read/damage.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string_view>
#include <vector>

#include "lockstep/base/error.hpp"

namespace lockstep {
namespace {

constexpr std::size_t kNamed = 16;  // a block of 64 KiB may hold thousands of small tensors

// Whether damage somewhere in [first, last) of its file is in this piece.
bool is_hurt(const PieceRecord& piece, std::uint64_t bytes, const StoredFile& file, std::uint64_t first,
             std::uint64_t last) {
  if (piece.offset >= last || piece.offset + bytes <= first) return false;
  if (piece.offset <= first && piece.offset + bytes >= last) return true;
  try {
    return file.checksum(piece.offset, bytes) != piece.crc;
  } catch (const IoError&) {
    return true;
  }
}

}  // namespace

void throw_damaged(const Manifest& manifest, std::size_t index, const StoredFile& file, std::uint64_t first,
                   std::uint64_t last) {
  std::vector<std::string_view> names;
  for (const auto* records : {&manifest.tensors, &manifest.stored_blobs}) {
    for (const TensorRecord& record : *records) {
      for (const PieceRecord& piece : record.pieces) {
        const std::uint64_t bytes = static_cast<std::uint64_t>(piece.elements) * size_of(record.dtype);
        if (piece.file != index || !is_hurt(piece, bytes, file, first, last)) continue;
        names.push_back(record.name);
        break;
      }
    }
  }
  if (names.empty()) names.emplace_back("metadata");
  const std::size_t more = names.size() - std::min(names.size(), kNamed);
  names.resize(names.size() - more);
  throw CheckpointError({.what = fmt::format("read {}", file.path().string()),
                         .why = fmt::format("bytes {} to {} do not match their CRC-32C; damaged: {}{}", first, last - 1,
                                            fmt::join(names, ", "), more > 0 ? fmt::format(" and {} more", more) : ""),
                         .fix = kUseAnother});
}

}  // namespace lockstep
