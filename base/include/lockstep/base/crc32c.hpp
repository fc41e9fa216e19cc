// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace lockstep {

// CRC-32C (Castagnoli, reflected 0x82F63B78; RFC 3720 appendix B.4), as iSCSI, ext4 and TensorBoard use it.
// Feed a message in pieces by passing the previous result; the empty message gives 0. Uses SSE 4.2, and AVX-512
// from 4 KiB on, where the CPU has them; the bits are the same without.
[[nodiscard]] std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t previous = 0) noexcept;

// The CRC-32C of two messages one behind the other, from theirs. Some 50 ns if the second's length is a power of two.
[[nodiscard]] std::uint32_t crc32c_joined(std::uint32_t first, std::uint32_t second,
                                          std::uint64_t second_bytes) noexcept;

// The table-driven reference that defines the bits.
[[nodiscard]] std::uint32_t crc32c_reference(std::span<const std::byte> bytes, std::uint32_t previous = 0) noexcept;

}  // namespace lockstep
