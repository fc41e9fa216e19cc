// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "lockstep/dataloader/pack.hpp"

namespace lockstep {

[[nodiscard]] std::string_view suffix_of(Compression compression) noexcept;     // ".zst", ".lz4" or nothing
[[nodiscard]] Compression compression_of(std::string_view file_name) noexcept;  // told by its suffix

// `to` becomes one frame with the content's checksum inside.
void compress(Compression compression, std::span<const std::byte> from, std::vector<std::byte>& to);

// Decompresses whole frames (zstd or lz4, one or several) to buffer[at …], which grows with what comes out of them, to
// 1 GiB at most, and never shrinks. Returns how many bytes came out. Throws DamagedSample without a `what`.
std::size_t decompress(Compression compression, std::span<const std::byte> from, std::vector<std::byte>& buffer,
                       std::size_t at);

}  // namespace lockstep
