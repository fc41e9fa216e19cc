// SPDX-License-Identifier: Apache-2.0
// lockstep's side of the all-reduce bench. usage: mpirun -np 2 all_reduce CONTENDER BARRIER_FILE LARGEST_BYTES [odd]
//   shm_own           Backend, memory of allocate()         shm_ordinary  Backend, memory of malloc
//   communicator_own  Communicator, memory of allocate()    mpi           Backend "mpi", memory of malloc
#include <cstdlib>
#include <memory>
#include <string>

#include "harness.hpp"
#include "lockstep/comm/backend.hpp"
#include "lockstep/comm/mpi_session.hpp"

namespace {

using namespace lockstep;

// Straight to the backend: start, advance, idle. What Communicator adds is measured beside it.
void all_reduce(comm::Backend& backend, float* data, std::int64_t elements, std::uint64_t sequence) {
  const Partial leaf{.first_leaf = backend.rank(), .leaves = 1, .data = reinterpret_cast<std::byte*>(data)};
  const comm::OperationPtr operation = backend.start({.call = {.kind = comm::Kind::all_reduce,
                                                               .dtype = DType::float32,
                                                               .elements = elements,
                                                               .leaves = backend.world_size(),
                                                               .sequence = sequence},
                                                      .partials = {&leaf, 1},
                                                      .output = reinterpret_cast<std::byte*>(data)});
  for (std::int64_t polls = 0; operation->advance(bench::Clock::time_point::max()) != comm::Advanced::fully; ++polls) {
    if (polls > 1000) backend.idle(std::chrono::nanoseconds(polls * 10));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::string contender = argv[1];
  MpiSession session{std::chrono::seconds(60)};
  Communicator world = session.world(contender == "mpi" ? "mpi" : "shm");
  const bench::Settings settings = bench::parse(argc - 1, argv + 1, world.rank(), world.world_size());
  const std::size_t pool_bytes = std::max(bench::kRotateBytes, settings.largest + 64);
  std::shared_ptr<std::byte> pool;
  if (contender == "shm_own" || contender == "communicator_own")
    pool = world.allocate(pool_bytes);
  else
    pool = {static_cast<std::byte*>(std::aligned_alloc(64, pool_bytes)), std::free};
  auto* const memory = reinterpret_cast<float*>(pool.get());
  if (contender == "communicator_own") {
    bench::measure(settings, contender.c_str(), memory, [&](float* data, std::int64_t n) {
      world.all_reduce({data, n, DType::float32}).wait();
    });
  } else {
    std::uint64_t sequence = 0;
    comm::Backend& backend = world.backend();
    bench::measure(settings, contender.c_str(), memory,
                   [&](float* data, std::int64_t n) { all_reduce(backend, data, n, sequence++); });
  }
  world.close();
  session.finalize();
  return 0;
}
