// SPDX-License-Identifier: Apache-2.0
#include "peer_watch.hpp"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace lockstep::comm {

PeerWatch::PeerWatch(const std::vector<Peer>& peers, const std::vector<int>& watched) {
  for (const int rank : watched) {
    const auto pid = static_cast<pid_t>(peers[static_cast<std::size_t>(rank)].pid);
    FileDescriptor descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    if (!descriptor && errno == ESRCH && !gone_) gone_ = rank;
    if (!descriptor) continue;  // an old kernel or a sandbox: the deadline of every wait remains
    ranks_.push_back(rank);
    descriptors_.push_back(std::move(descriptor));
  }
}

std::optional<int> PeerWatch::dead_rank() const {
  if (gone_) return gone_;
  std::vector<pollfd> polls;
  for (const FileDescriptor& descriptor : descriptors_) polls.push_back({descriptor.get(), POLLIN, 0});
  if (polls.empty() || poll(polls.data(), polls.size(), 0) <= 0) return std::nullopt;
  for (std::size_t i = 0; i < polls.size(); ++i) {
    if (polls[i].revents != 0) return ranks_[i];
  }
  return std::nullopt;
}

}  // namespace lockstep::comm
