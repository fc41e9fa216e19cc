// SPDX-License-Identifier: Apache-2.0
#include "peer_watch.hpp"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace lockstep::comm {

PeerWatch::PeerWatch(const std::vector<Peer>& peers, const std::vector<int>& watched) {
  for (const int rank : watched) {
    const auto pid = static_cast<pid_t>(peers[static_cast<std::size_t>(rank)].pid);
    FileDescriptor descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    const bool has_ended = !descriptor && errno == ESRCH;
    if (!descriptor && !has_ended) continue;  // an old kernel or a sandbox: the deadline of every wait remains
    ranks_.push_back(rank);
    descriptors_.push_back(std::make_shared<const FileDescriptor>(std::move(descriptor)));
  }
}

std::optional<int> PeerWatch::dead_rank() const {
  const std::vector<int> dead = dead_ranks();
  return dead.empty() ? std::nullopt : std::optional(dead.front());
}

std::vector<int> PeerWatch::dead_ranks() const {
  std::vector<int> dead;
  std::vector<pollfd> polls;
  for (const auto& descriptor : descriptors_) polls.push_back({descriptor->get(), POLLIN, 0});
  poll(polls.data(), polls.size(), 0);  // passes over those without a descriptor
  for (std::size_t i = 0; i < polls.size(); ++i) {
    if (!*descriptors_[i] || polls[i].revents != 0) dead.push_back(ranks_[i]);
  }
  return dead;
}

PeerWatch PeerWatch::part(const std::vector<int>& members) const {
  PeerWatch watch;
  for (std::size_t place = 0; place < members.size(); ++place) {
    const auto found = std::find(ranks_.begin(), ranks_.end(), members[place]);
    if (found == ranks_.end()) continue;
    watch.ranks_.push_back(static_cast<int>(place));
    watch.descriptors_.push_back(descriptors_[static_cast<std::size_t>(found - ranks_.begin())]);
  }
  return watch;
}

}  // namespace lockstep::comm
