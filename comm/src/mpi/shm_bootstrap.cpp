// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <random>

#include "../shm/fd_exchange.hpp"
#include "../shm/host_world.hpp"
#include "../shm/shm_world.hpp"
#include "exchange_records.hpp"
#include "mpi_backend.hpp"
#include "mpi_check.hpp"

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

std::vector<Peer> peers_in(MPI_Comm comm) {
  MPI_Comm host_comm = MPI_COMM_NULL;
  check_setup(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host_comm), "MPI_Comm_split_type");
  std::vector<Peer> peers = peers_of(exchange_records(comm, host_comm));
  MPI_Comm_free(&host_comm);
  return peers;
}

}  // namespace

std::unique_ptr<Backend> make_shm_backend(MPI_Comm comm, std::chrono::milliseconds timeout, std::string& why_not) {
  int rank = 0;
  int world_size = 0;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &world_size);
  why_not = shm::several_hosts(peers_in(comm));
  if (!why_not.empty()) return nullptr;  // on every rank
  std::shared_ptr<shm::Arena> arena;
  shm::Members members;
  shm::FdExchange exchange(secret_name(comm), rank, world_size, timeout);
  const auto attempt = [&](const auto& step) {
    try {
      step();
    } catch (const Error& error) {
      why_not = error.what();
    }
    return all(comm, why_not.empty());
  };
  const auto open = [&](bool whose) {
    constexpr std::chrono::milliseconds kNone{0};  // rank 0 listens before the others come, or cannot be reached
    return attempt([&] {
      if (whose) exchange.open(kNone);
    });
  };
  const bool ready = attempt([&] { arena = shm::make_world_arena(world_size); }) && open(rank == 0) && open(rank != 0);
  if (!ready || !attempt([&] { members = exchange.exchange(arena->file()); })) {
    if (why_not.empty()) why_not = "another rank could not share its memory";
    return nullptr;
  }
  return shm::make_host_world(rank, std::move(arena), members);
}

}  // namespace lockstep::comm::mpi
