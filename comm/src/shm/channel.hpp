// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "lockstep/comm/backend.hpp"

// What the ranks of one communicator share, laid out for cache lines: every line has one writer. A channel lies in its
// owner's arena; peers reach it through their mapping of it.
namespace lockstep::comm::shm {

inline constexpr std::size_t kLineBytes = 64;  // of a cache line
inline constexpr std::size_t kInlineBytes = 48;
inline constexpr std::uint64_t kLines = 8;  // calls that may be published before the oldest is done
// Contributions that are published with their line, in a slot. Where ranks share CPUs, waiting once instead of three
// times is worth more bytes.
inline constexpr std::size_t kEagerBytes = 512;
inline constexpr std::size_t kSlotBytes = 8 << 10;  // also room for a number for each of 1024 ranks
inline constexpr std::size_t kCellBytes = 256 << 10;
inline constexpr std::uint64_t kCells = 4;  // of the staging ring: chunks in flight

// The first line of a call: sequence number, fingerprint and a small payload, or where the rank's memory lies.
struct alignas(128) Line {
  std::atomic<std::uint64_t> published{0};  // sequence + 1; written last
  std::uint32_t fingerprint = 0;            // of the call without its sequence number
  std::uint32_t done = 0;                   // calls that the writer had completed (low 32 bits)
  std::array<std::byte, kInlineBytes> payload{};
};
static_assert(sizeof(Line) == 128);  // the second half is empty: CPUs fetch lines in pairs

// In the payload of a call whose data does not fit into it.
struct Places {
  std::uint64_t shared = 0;  // 1: everything lies in the writer's arena, at these offsets
  std::uint64_t output = 0;
  std::array<std::uint64_t, 4> inputs{};
};
static_assert(sizeof(Places) == kInlineBytes);

struct alignas(128) Counter {
  std::atomic<std::uint64_t> value{0};
};

// Why a rank has given up, for its peers' errors.
struct alignas(128) Notice {
  std::atomic<std::uint32_t> given{0};  // written last
  FailureKind kind = FailureKind::native;
  std::int32_t culprit = -1;
  std::array<char, 500> why{};
  std::array<char, 250> fix{};
};

// How the survivors of a failure agree who is left (shm_shrink.cpp).
struct alignas(128) Census {
  std::atomic<std::uint64_t> announced{0};  // where the writer's channel of the smaller communicator lies; written last
  std::uint64_t proposal = 0;               // where its list of such channels lies, by rank; 0 for those left out
  std::atomic<std::uint32_t> decided{0};    // rank 0's: whose proposal holds, plus 1. All write to it, even when that
                                            // process is dead: its memory lives as long as somebody maps it.
};

struct Channel {
  std::array<Line, kLines> lines;
  std::array<Call, kLines> calls;  // of the lines; read only to name a mismatch
  Counter copied;                  // chunks whose inputs are in our cells
  Counter consumed;                // chunks for which we need our peers' cells no more
  Counter finished;                // calls that are complete here
  Notice notice;
  Census census;
  std::atomic<std::uint32_t> claims{0};  // rank 0's: how many ranks have reported a failure
  alignas(128) std::array<std::array<std::byte, kSlotBytes>, kLines> slots;
  alignas(128) std::array<std::array<std::byte, kCellBytes>, kCells> cells;
};

// Asks for cache lines that are about to be written: one transfer, where reading them first would make two.
inline void own_lines(const std::byte* memory, std::size_t bytes) noexcept {
  for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(memory + at, 1);
}

}  // namespace lockstep::comm::shm
