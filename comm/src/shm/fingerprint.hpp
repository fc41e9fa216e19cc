// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "lockstep/base/mix.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::shm {

// Of the call without its sequence number: what ranks compare. A header, so that the bench measures what calls run.
[[nodiscard]] inline std::uint32_t fingerprint_of(const Call& call) {
  const auto mix = [](std::uint64_t hash, std::uint64_t value) { return (hash ^ value) * kGoldenGamma; };
  std::uint64_t hash = (static_cast<std::uint64_t>(call.kind) << 24) | (static_cast<std::uint64_t>(call.dtype) << 16) |
                       (static_cast<std::uint64_t>(call.op) << 8) | static_cast<std::uint64_t>(call.order);
  hash = mix(hash, static_cast<std::uint64_t>(static_cast<std::uint32_t>(call.root)) ^ call.parts);
  hash = mix(hash ^ (hash >> 32), static_cast<std::uint64_t>(call.elements));
  hash = mix(hash ^ (hash >> 32), static_cast<std::uint64_t>(call.leaves));
  std::uint64_t scale = 0;
  std::memcpy(&scale, &call.scale, sizeof scale);
  hash = mix(hash ^ (hash >> 32), scale);
  return static_cast<std::uint32_t>(hash >> 32);
}

}  // namespace lockstep::comm::shm
