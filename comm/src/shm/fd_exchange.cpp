// SPDX-License-Identifier: Apache-2.0
#include "fd_exchange.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "lockstep/base/error.hpp"

namespace lockstep::comm::shm {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const char* call, int error) {
  throw CommError({.what = fmt::format("handing over shared memory: {}", call),
                   .why = std::strerror(error),
                   .fix = "ranks of one host must share its network namespace; comm.backend=mpi does without"});
}

sockaddr_un address_of(const std::string& name, socklen_t& length) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(),
              std::min(name.size(), sizeof address.sun_path - 1));  // [0] = 0: abstract
  length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return address;
}

void wait_for(const FileDescriptor& descriptor, short events, Clock::time_point deadline, const char* whom) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  pollfd one{descriptor.get(), events, 0};
  const int ready = poll(&one, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
  if (ready < 0) fail("poll", errno);
  if (ready == 0) {
    throw TimeoutError({.what = "handing over shared memory",
                        .why = fmt::format("timed out waiting for {}", whom),
                        .fix = "see whether a rank of this host has died or is stopped"});
  }
}

FileDescriptor new_socket() {
  FileDescriptor made(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!made) fail("socket", errno);
  return made;
}

// One message: a rank number and one descriptor.
class FileMessage {
 public:
  explicit FileMessage(int rank = -1) : rank_(rank) {
    message_.msg_iov = &bytes_;
    message_.msg_iovlen = 1;
    message_.msg_control = control_.data();
    message_.msg_controllen = control_.size();
  }
  FileMessage(const FileMessage&) = delete;
  FileMessage& operator=(const FileMessage&) = delete;

  void send(const FileDescriptor& socket, int file) {
    cmsghdr* const header = CMSG_FIRSTHDR(&message_);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &file, sizeof file);
    if (sendmsg(socket.get(), &message_, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof rank_)) fail("sendmsg", errno);
  }

  [[nodiscard]] FileDescriptor receive(const FileDescriptor& socket) {
    if (recvmsg(socket.get(), &message_, MSG_CMSG_CLOEXEC) != static_cast<ssize_t>(sizeof rank_))
      fail("recvmsg", errno);
    const cmsghdr* const header = CMSG_FIRSTHDR(&message_);
    if (header == nullptr || header->cmsg_type != SCM_RIGHTS) fail("recvmsg", EPROTO);
    int file = -1;
    std::memcpy(&file, CMSG_DATA(header), sizeof file);
    return FileDescriptor(file);
  }
  [[nodiscard]] int rank() const noexcept { return rank_; }

 private:
  int rank_;
  iovec bytes_{&rank_, sizeof rank_};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control_{};
  msghdr message_{};
};

bool same_user(const FileDescriptor& socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  return getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == geteuid();
}

}  // namespace

FdExchange::FdExchange(std::string name, int rank, int world_size, std::chrono::milliseconds timeout)
    : name_(std::move(name)), rank_(rank), world_size_(world_size), deadline_(Clock::now() + timeout) {}

void FdExchange::listen() {
  listener_ = new_socket();
  socklen_t length = 0;
  const sockaddr_un address = address_of(name_, length);
  if (bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) fail("bind", errno);
  if (::listen(listener_.get(), world_size_) != 0) fail("listen", errno);
}

std::vector<FileDescriptor> FdExchange::exchange(const FileDescriptor& own) {
  return rank_ == 0 ? serve(own) : ask(own);
}

std::vector<FileDescriptor> FdExchange::serve(const FileDescriptor& own) {
  std::vector<FileDescriptor> files(static_cast<std::size_t>(world_size_));
  std::vector<FileDescriptor> sockets(static_cast<std::size_t>(world_size_));
  files[0] = FileDescriptor(fcntl(own.get(), F_DUPFD_CLOEXEC, 0));
  for (int come = 1; come < world_size_;) {
    wait_for(listener_, POLLIN, deadline_, "the other ranks of this host");
    FileDescriptor socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) fail("accept", errno);
    if (!same_user(socket)) continue;  // a stranger
    wait_for(socket, POLLIN, deadline_, "a rank's memory");
    FileMessage message;
    FileDescriptor file = message.receive(socket);
    const int rank = message.rank();
    if (rank < 1 || rank >= world_size_ || files[static_cast<std::size_t>(rank)]) fail("a rank came twice", EPROTO);
    files[static_cast<std::size_t>(rank)] = std::move(file);
    sockets[static_cast<std::size_t>(rank)] = std::move(socket);
    ++come;
  }
  for (int to = 1; to < world_size_; ++to) {
    for (int rank = 0; rank < world_size_; ++rank) {
      FileMessage(rank).send(sockets[static_cast<std::size_t>(to)], files[static_cast<std::size_t>(rank)].get());
    }
  }
  return files;
}

std::vector<FileDescriptor> FdExchange::ask(const FileDescriptor& own) {
  const FileDescriptor socket = new_socket();
  socklen_t length = 0;
  const sockaddr_un address = address_of(name_, length);
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) fail("connect", errno);
  if (!same_user(socket)) fail("the listener belongs to another user", EPERM);
  FileMessage(rank_).send(socket, own.get());
  std::vector<FileDescriptor> files(static_cast<std::size_t>(world_size_));
  for (int i = 0; i < world_size_; ++i) {
    wait_for(socket, POLLIN, deadline_, "rank 0 of this host");
    FileMessage message;
    FileDescriptor file = message.receive(socket);
    const int rank = message.rank();
    if (rank < 0 || rank >= world_size_) fail("recvmsg", EPROTO);
    files[static_cast<std::size_t>(rank)] = std::move(file);
  }
  return files;
}

}  // namespace lockstep::comm::shm
