// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../peer_watch.hpp"
#include "arena.hpp"
#include "host_group.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/backend.hpp"

namespace lockstep::comm::shm {

// An arena that holds the channel of the first communicator, always at the same place. To be made before peers map it.
[[nodiscard]] std::shared_ptr<Arena> make_world_arena(int world_size);

// The backend of the first communicator of a host's ranks. `files`: everybody's memory, by rank.
[[nodiscard]] std::unique_ptr<Backend> make_shm_world(int rank, std::vector<Peer> peers, std::shared_ptr<Arena> arena,
                                                      const std::vector<FileDescriptor>& files,
                                                      std::unique_ptr<PeerWatch> watch, int cpus);

// Why these ranks cannot share memory: they are on several hosts, of which two are named. Empty: all are on one.
[[nodiscard]] std::string several_hosts(const std::vector<Peer>& peers);
// What comm.backend=shm gets where that is impossible.
[[nodiscard]] UsageError shm_refused(std::string why_not);

// The same for ranks that are threads of this process, all at once: for tests, also under the thread sanitizer, which
// follows addresses and therefore needs everybody to see the memory at the same ones. `nodes`: by rank, on which node
// it shall say that it is; none: all are on one.
[[nodiscard]] std::vector<std::unique_ptr<Backend>> make_shm_threads(int world_size,
                                                                     const std::vector<int>& nodes = {});

}  // namespace lockstep::comm::shm
