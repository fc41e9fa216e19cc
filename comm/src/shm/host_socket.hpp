// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <string>

#include "../peer_records.hpp"
#include "lockstep/base/file.hpp"

// Messages between the ranks of a host that know only a name, over Unix sockets in the abstract namespace (no name in a
// file system). All of these throw CommError for a socket that fails (another network namespace, say).
namespace lockstep::comm::shm {

using Deadline = std::chrono::steady_clock::time_point;

// What a rank tells the others of itself, besides its memory.
struct Member {
  PeerRecord record{};
  cpu_set_t cpus{};  // that it may run on
  std::int32_t usable_cpus = 1;
};

// One packet, plain bytes. With `memory` and `member` goes a descriptor of that rank's memory file.
struct Message {
  enum class Kind : std::uint32_t { hello, memory, member, received, done, failed };
  std::uint64_t protocol = kProtocol;
  Kind kind = Kind::hello;
  std::int32_t rank = 0;         // hello: the sender's; member: whose; failed: the culprit's, or -1
  std::int32_t world_size = 0;   // hello: as the sender was told
  Member member{};               // hello, member
  std::array<char, 600> text{};  // failed: why

  static constexpr std::uint64_t kProtocol = 0x6c6f'636b'7374'0001;  // the last digits are the version
};

[[nodiscard]] FileDescriptor listen_at(const std::string& name, int backlog);
// Null if nobody listens at `name`.
[[nodiscard]] FileDescriptor connect_to(const std::string& name);
// Null if who connected is another user's process, or has gone.
[[nodiscard]] FileDescriptor accept_from(const FileDescriptor& listener);

// False if the other end has gone.
bool send(const FileDescriptor& socket, const Message& message, int file = -1);

struct Received {
  bool good = false;  // a message of this protocol; else the other end has gone, or is no rank
  Message message{};
  FileDescriptor file{};
};
// Waits for a packet.
[[nodiscard]] Received receive(const FileDescriptor& socket);

}  // namespace lockstep::comm::shm
