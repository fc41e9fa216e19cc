// SPDX-License-Identifier: Apache-2.0
#include "peer_records.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "lockstep/base/host.hpp"

namespace lockstep::comm {
namespace {

std::int64_t pid_namespace() {
  struct stat status {};
  return stat("/proc/self/ns/pid", &status) == 0 ? static_cast<std::int64_t>(status.st_ino) : -1;
}

}  // namespace

PeerRecord own_record() {
  PeerRecord own;
  std::strncpy(own.host, host_name().c_str(), HOST_NAME_MAX);
  own.pid = getpid();
  own.pid_namespace = pid_namespace();
  return own;
}

std::vector<Peer> peers_of(const std::vector<PeerRecord>& records) {
  std::vector<Peer> peers;
  for (const PeerRecord& record : records) {
    peers.push_back({.host = record.host, .pid = record.pid, .node = record.node, .local_rank = record.local_rank});
  }
  return peers;
}

std::vector<int> watchable(const std::vector<PeerRecord>& records, int rank) {
  const PeerRecord& own = records[static_cast<std::size_t>(rank)];
  std::vector<int> ranks;
  for (std::size_t peer = 0; peer < records.size(); ++peer) {
    const PeerRecord& record = records[peer];
    const bool same = record.node == own.node && record.pid_namespace == own.pid_namespace;
    if (same && static_cast<int>(peer) != rank) ranks.push_back(static_cast<int>(peer));
  }
  return ranks;
}

}  // namespace lockstep::comm
