// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "../moves.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::mpi {

// The first message from a rank to another in every call: its fingerprint, and what it has for the other if that is
// little.
struct Header {
  static constexpr std::size_t kInlineBytes = kKeptBytes;
  Call call{};
  std::int64_t sent = 0;      // elements that the other gets from the writer
  std::int64_t expected = 0;  // and those that the writer gets from it
  std::array<std::byte, kInlineBytes> payload;

  // With the first `payload_bytes` of the payload.
  [[nodiscard]] std::span<const std::byte> written(std::size_t payload_bytes) const {
    return std::as_bytes(std::span(this, 1)).first(sizeof(Header) - kInlineBytes + payload_bytes);
  }
  [[nodiscard]] std::span<std::byte> whole() { return std::as_writable_bytes(std::span(this, 1)); }
};

}  // namespace lockstep::comm::mpi
