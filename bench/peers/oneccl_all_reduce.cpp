// SPDX-License-Identifier: Apache-2.0
// The bench's loop over oneCCL on the CPU; MPI starts the ranks and hands out the address. Arguments:
// ../collectives/common.hpp; all_reduce alone.
#include <mpi.h>

#include <oneapi/ccl.hpp>

#include "../collectives/harness.hpp"

int main(int argc, char** argv) {
  ccl::init();
  MPI_Init(&argc, &argv);
  int rank = 0;
  int ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const bench::Settings settings = bench::parse(argc, argv, rank, ranks);
  ccl::kvs::address_type address;
  ccl::shared_ptr_class<ccl::kvs> store;
  if (rank == 0) {
    store = ccl::create_main_kvs();
    address = store->get_address();
  }
  MPI_Bcast(address.data(), static_cast<int>(address.size()), MPI_BYTE, 0, MPI_COMM_WORLD);
  if (rank != 0) store = ccl::create_kvs(address);
  {
    const auto world = ccl::create_communicator(ranks, rank, store);
    void* memory = nullptr;
    if (posix_memalign(&memory, 128, settings.pool_bytes()) != 0) return 1;
    bench::measure(settings, memory, [&](std::size_t, const bench::Case&, const bench::Buffers& buffers) {
      auto* const data = static_cast<float*>(buffers.output);
      ccl::allreduce(data, data, static_cast<std::size_t>(buffers.elements), ccl::reduction::sum, world).wait();
    });
  }
  MPI_Finalize();
  return 0;
}
