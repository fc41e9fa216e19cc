// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "channel.hpp"

// Messages between two ranks, in which the others take no part. Behind a rank's channel lie its mailboxes, one for each
// rank of the communicator, itself included: what only it writes and only that rank reads.
namespace lockstep::comm::shm {

inline constexpr std::uint64_t kLetters = 8;            // messages that may be published before the oldest is taken
inline constexpr std::size_t kEnclosedBytes = 8 << 10;  // messages that are kept for the receiver
inline constexpr std::size_t kMailCellBytes = 64 << 10;
inline constexpr std::uint64_t kMailCells = 4;  // of a ring: chunks in flight

// The first line of a message: what it is, and its payload, or where that lies.
struct alignas(64) Letter {
  std::atomic<std::uint64_t> published{0};  // sequence + 1; written last
  std::uint64_t content = 0;                // dtype and number of elements
  std::array<std::byte, kInlineBytes> payload{};
};
static_assert(sizeof(Letter) == 64);

// In the payload of a letter whose data does not fit into it.
struct Enclosure {
  std::uint64_t whole = 0;  // 1: all of it is there; 0: chunk by chunk in a ring
  std::uint64_t place = 0;  // in the sender's arena
};

// From the receiver to the sender.
struct alignas(128) Receipts {
  std::atomic<std::uint64_t> taken{0};     // messages that the receiver is done with
  std::atomic<std::uint64_t> consumed{0};  // chunks of all messages so far that it has copied out of the ring
  std::atomic<std::uint64_t> refused{0};   // sequence + 1 of a message that is not what it expects
  std::uint64_t expected = 0;              // content of that; written before
};

struct alignas(128) Mailbox {
  std::array<Letter, kLetters> letters;  // what the owner sends to the peer
  Counter copied;                        // chunks of all messages so far that the owner has copied into its ring
  Receipts receipts;                     // for what the owner receives from the peer
};

// What a rank remembers of its messages with a peer.
struct Correspondence {
  std::uint64_t sent = 0, received = 0;  // so far: the index of the next one
  std::uint64_t taken = 0;               // of those sent, when last looked
  std::uint64_t chunks = 0;              // of those sent
  std::uint64_t enclosures = 0;          // kLetters × kEnclosedBytes in our arena; 0: not needed yet
  std::uint64_t ring = 0;                // kMailCells × kMailCellBytes in our arena; 0: not needed yet
};

}  // namespace lockstep::comm::shm
