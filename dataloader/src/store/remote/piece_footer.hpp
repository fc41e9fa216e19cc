// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace lockstep::remote {

// What follows the bytes of a piece in its file. Not a format for others: a cache is read by the hosts that wrote it.
struct PieceFooter {
  static constexpr std::uint32_t kMagic = 0x3150534c;  // "LSP1"
  std::uint64_t bytes = 0;
  std::uint32_t crc32c = 0;
  std::uint32_t magic = 0;
  friend bool operator==(const PieceFooter&, const PieceFooter&) = default;
};

[[nodiscard]] PieceFooter footer_of(std::span<const std::byte> bytes) noexcept;

}  // namespace lockstep::remote
