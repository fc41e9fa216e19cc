// SPDX-License-Identifier: Apache-2.0
#include "host_world.hpp"

#include <algorithm>

#include "shm_world.hpp"

namespace lockstep::comm::shm {
namespace {

// How many CPUs the ranks may use together: pinned ranks have one each, and a quota may be below what they see.
int cpus_of(const std::vector<Member>& members) {
  cpu_set_t cpus{};
  int least = CPU_SETSIZE;
  for (const Member& member : members) {
    CPU_OR(&cpus, &cpus, &member.cpus);
    least = std::min(least, static_cast<int>(member.usable_cpus));
  }
  return std::min(CPU_COUNT(&cpus), least * static_cast<int>(members.size()));
}

}  // namespace

std::unique_ptr<Backend> make_host_world(int rank, std::shared_ptr<Arena> arena, const Members& all) {
  std::vector<PeerRecord> records;
  for (const Member& member : all.members) records.push_back(member.record);
  std::vector<Peer> peers = peers_of(records);
  auto watch = std::make_unique<PeerWatch>(peers, watchable(records, rank));
  return make_shm_world(rank, std::move(peers), std::move(arena), all.files, std::move(watch), cpus_of(all.members));
}

}  // namespace lockstep::comm::shm
