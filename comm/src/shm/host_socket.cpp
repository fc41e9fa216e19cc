// SPDX-License-Identifier: Apache-2.0
#include "host_socket.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "lockstep/base/error.hpp"

namespace lockstep::comm::shm {
namespace {

[[noreturn]] void fail(const char* call, const std::string& why) {
  throw CommError({.what = fmt::format("meeting the ranks of this host: {}", call),
                   .why = why,
                   .fix = "ranks of one host must share its network namespace; comm.backend=mpi does without"});
}

[[noreturn]] void fail(const char* call) { fail(call, std::strerror(errno)); }

struct Address {
  explicit Address(const std::string& name) {
    if (name.size() >= sizeof bytes.sun_path) fail("address", "the name is too long: " + name);
    bytes.sun_family = AF_UNIX;
    std::memcpy(bytes.sun_path + 1, name.data(), name.size());  // [0] = 0: abstract
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  }
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&bytes); }
  sockaddr_un bytes{};
  socklen_t length = 0;
};

FileDescriptor new_socket() {
  FileDescriptor made(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!made) fail("socket");
  return made;
}

bool same_user(const FileDescriptor& socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  return getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == geteuid();
}

// A message and room for one descriptor, as the kernel takes them.
struct Packet {
  explicit Packet(Message& message) : bytes{&message, sizeof message} {
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
  }
  iovec bytes;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
};

FileDescriptor file_of(msghdr& packet) {
  const cmsghdr* const header = CMSG_FIRSTHDR(&packet);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return {};
  int file = -1;
  std::memcpy(&file, CMSG_DATA(header), sizeof file);
  return FileDescriptor(file);
}

bool is_gone(int error) { return error == EPIPE || error == ECONNRESET; }

}  // namespace

FileDescriptor listen_at(const std::string& name, int backlog) {
  FileDescriptor listener = new_socket();
  const Address address(name);
  if (bind(listener.get(), address.get(), address.length) != 0) {
    if (errno != EADDRINUSE) fail("bind");
    throw UsageError({.what = "meeting the ranks of this host",
                      .why = "another process is rank 0 of a job of the same name",
                      .fix = "give two jobs that run at once different names (LOCKSTEP_RENDEZVOUS)"});
  }
  if (listen(listener.get(), backlog) != 0) fail("listen");
  return listener;
}

FileDescriptor connect_to(const std::string& name) {
  FileDescriptor socket = new_socket();
  const Address address(name);
  if (connect(socket.get(), address.get(), address.length) != 0) {
    if (errno == ECONNREFUSED || errno == EAGAIN || errno == EINTR) return {};
    fail("connect");
  }
  if (!same_user(socket)) fail("connect", "a process of another user listens under the name of this job");
  return socket;
}

FileDescriptor accept_from(const FileDescriptor& listener) {
  FileDescriptor socket(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket && errno != ECONNABORTED && errno != EINTR) fail("accept");
  if (!socket || !same_user(socket)) return {};
  return socket;
}

bool send(const FileDescriptor& socket, const Message& message, int file) {
  Message copy = message;
  Packet packet(copy);
  if (file >= 0) {
    cmsghdr* const header = CMSG_FIRSTHDR(&packet.header);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &file, sizeof file);
  } else {
    packet.header.msg_control = nullptr;
    packet.header.msg_controllen = 0;
  }
  ssize_t sent = -1;
  while ((sent = sendmsg(socket.get(), &packet.header, MSG_NOSIGNAL)) < 0 && errno == EINTR) {
  }
  if (sent < 0 && !is_gone(errno)) fail("sendmsg");
  return sent >= 0;
}

Received receive(const FileDescriptor& socket) {
  Received received;
  Packet packet(received.message);
  ssize_t got = -1;
  // ECONNRESET comes once, before what the other end sent until it went.
  for (int resets = 0; resets < 2;) {
    got = recvmsg(socket.get(), &packet.header, MSG_CMSG_CLOEXEC);
    if (got >= 0 || (errno != EINTR && !is_gone(errno))) break;
    if (errno != EINTR) ++resets;
  }
  if (got < 0 && !is_gone(errno)) fail("recvmsg");
  received.file = file_of(packet.header);
  received.good = got == static_cast<ssize_t>(sizeof(Message)) && received.message.protocol == Message::kProtocol;
  return received;
}

}  // namespace lockstep::comm::shm
