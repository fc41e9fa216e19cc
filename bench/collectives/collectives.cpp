// SPDX-License-Identifier: Apache-2.0
// lockstep's side of the bench. usage: mpirun -np 2 bench_collectives CONTENDER … (common.hpp), CONTENDER is one of
//   shm_own           Backend, memory of allocate()        shm_ordinary           Backend, memory of malloc
//   communicator_own  Communicator, memory of allocate()   communicator_ordinary  Communicator, memory of malloc
//   mpi               Backend "mpi", memory of malloc
#include <memory>

#include "backend_call.hpp"
#include "harness.hpp"
#include "lockstep/comm/communicator.hpp"
#include "lockstep/comm/session.hpp"

namespace {

// Peers map this memory page by page as they first reach into it, which a program pays in its first step alone: let
// every rank read all of everybody's before anything is timed.
void let_peers_map(lockstep::Communicator& world, std::byte* memory, std::size_t bytes) {
  constexpr std::size_t kChunk = 1 << 20;
  std::vector<std::byte> all(kChunk * static_cast<std::size_t>(world.world_size()));
  for (std::size_t first = 0; first < bytes; first += kChunk) {
    const auto size = static_cast<std::int64_t>(std::min(kChunk, bytes - first));
    world.all_gather(all.data(), lockstep::Buffer{memory + first, size, lockstep::DType::uint8}).wait();
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto session = lockstep::open_session(std::chrono::seconds(60));
  const std::string contender = argc > 1 ? argv[1] : "";
  lockstep::Communicator world = session->world(contender == "mpi" ? "mpi" : "shm");
  const bench::Settings settings = bench::parse(argc, argv, world.rank(), world.world_size());
  std::shared_ptr<std::byte> memory;
  if (contender.ends_with("_own")) {
    memory = world.allocate(settings.pool_bytes());
    let_peers_map(world, memory.get(), settings.pool_bytes());
  } else {
    memory = {static_cast<std::byte*>(std::aligned_alloc(128, settings.pool_bytes())), std::free};
  }
  if (contender.starts_with("communicator")) {  // all_reduce alone
    bench::measure(settings, memory.get(), [&](std::size_t, const bench::Case&, const bench::Buffers& buffers) {
      world.all_reduce({buffers.output, buffers.elements, lockstep::DType::float32}).wait();
    });
  } else {
    lockstep::comm::Backend& backend = world.backend();
    bench::measure(settings, memory.get(), [&](std::size_t, const bench::Case& of, const bench::Buffers& buffers) {
      bench::call_backend(backend, of, buffers);
    });
  }
  world.close();
  session->finalize();
  return 0;
}
