// SPDX-License-Identifier: Apache-2.0
// The bench's loop over whichever MPI library this is built with. Arguments: ../collectives/common.hpp.
#include <mpi.h>

#include "../collectives/harness.hpp"

namespace {

// MPI_ERRORS_ARE_FATAL: nothing to check.
void call(std::size_t, const bench::Case& of, const bench::Buffers& buffers) {
  int ranks = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const auto whole = static_cast<int>(buffers.elements);
  const int part = whole / ranks;
  switch (of.collective) {
    case bench::Collective::all_reduce:
      MPI_Allreduce(MPI_IN_PLACE, buffers.output, whole, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
      break;
    case bench::Collective::reduce_scatter:
      MPI_Reduce_scatter_block(buffers.input, buffers.output, part, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
      break;
    case bench::Collective::all_gather:
      MPI_Allgather(buffers.input, part, MPI_FLOAT, buffers.output, part, MPI_FLOAT, MPI_COMM_WORLD);
      break;
    case bench::Collective::broadcast:
      MPI_Bcast(buffers.output, whole, MPI_FLOAT, 0, MPI_COMM_WORLD);
      break;
    case bench::Collective::all_to_all:
      MPI_Alltoall(buffers.input, part, MPI_FLOAT, buffers.output, part, MPI_FLOAT, MPI_COMM_WORLD);
      break;
  }
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0;
  int ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const bench::Settings settings = bench::parse(argc, argv, rank, ranks);
  void* memory = nullptr;
  if (posix_memalign(&memory, 128, settings.pool_bytes()) != 0) return 1;
  bench::measure(settings, memory, call);
  MPI_Finalize();
  return 0;
}
