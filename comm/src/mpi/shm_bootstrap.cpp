// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <random>

#include "../shm/fd_exchange.hpp"
#include "../shm/memory_limits.hpp"
#include "../shm/shm_world.hpp"
#include "mpi_backend.hpp"
#include "mpi_check.hpp"
#include "peer_records.hpp"

namespace lockstep::comm::mpi {
namespace {

bool all(MPI_Comm comm, bool here) {
  int every = here ? 1 : 0;
  check_setup(MPI_Allreduce(MPI_IN_PLACE, &every, 1, MPI_INT, MPI_MIN, comm), "MPI_Allreduce");
  return every != 0;
}

// Known to these ranks alone, and different for every job.
std::string secret_name(MPI_Comm comm) {
  std::array<std::uint32_t, 4> words{};
  std::random_device random;
  for (std::uint32_t& word : words) word = random();
  check_setup(MPI_Bcast(words.data(), sizeof words, MPI_BYTE, 0, comm), "MPI_Bcast");
  return fmt::format("lockstep-{:08x}{:08x}{:08x}{:08x}", words[0], words[1], words[2], words[3]);
}

// How many CPUs the ranks may use together: pinned ranks have one each, and a quota may be below what they see.
int cpus_of_all(MPI_Comm comm, int world_size) {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  check_setup(MPI_Allreduce(MPI_IN_PLACE, &set, sizeof set, MPI_BYTE, MPI_BOR, comm), "MPI_Allreduce");
  int least = shm::usable_cpus();
  check_setup(MPI_Allreduce(MPI_IN_PLACE, &least, 1, MPI_INT, MPI_MIN, comm), "MPI_Allreduce");
  return std::min(CPU_COUNT(&set), std::max(least, 1) * world_size);
}

}  // namespace

std::unique_ptr<Backend> make_shm_backend(MPI_Comm comm, std::chrono::milliseconds timeout, std::string& why_not) {
  int rank = 0;
  int world_size = 0;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &world_size);
  MPI_Comm node_comm = MPI_COMM_NULL;
  check_setup(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node_comm), "MPI_Comm_split_type");
  const std::vector<PeerRecord> records = exchange_records(comm, node_comm);
  MPI_Comm_free(&node_comm);
  std::vector<Peer> peers = peers_of(records);
  why_not = shm::several_hosts(peers);
  if (!why_not.empty()) return nullptr;  // on every rank
  std::shared_ptr<shm::Arena> arena;
  std::vector<FileDescriptor> files;
  shm::FdExchange exchange(secret_name(comm), rank, world_size, timeout);
  const auto attempt = [&](const auto& step) {
    try {
      step();
    } catch (const Error& error) {
      why_not = error.what();
    }
    return all(comm, why_not.empty());
  };
  const bool ready = attempt([&] {
    arena = shm::make_world_arena(world_size);
    if (rank == 0) exchange.listen();
  });
  if (!ready || !attempt([&] { files = exchange.exchange(arena->file()); })) {
    if (why_not.empty()) why_not = "another rank could not share its memory";
    return nullptr;
  }
  auto watch = std::make_unique<PeerWatch>(peers, watchable(records, rank));
  return shm::make_shm_world(rank, std::move(peers), std::move(arena), files, std::move(watch),
                             cpus_of_all(comm, world_size));
}

}  // namespace lockstep::comm::mpi
