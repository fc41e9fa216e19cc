// SPDX-License-Identifier: Apache-2.0
// MPI_Allreduce of whichever MPI library this is built with. usage: mpirun -np 2 mpi_all_reduce NAME BARRIER_FILE
// LARGEST [odd]
#include <mpi.h>

#include "../collectives/harness.hpp"

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0;
  int ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const bench::Settings settings = bench::parse(argc - 1, argv + 1, rank, ranks);
  void* pool = nullptr;
  if (posix_memalign(&pool, 64, std::max(bench::kRotateBytes, settings.largest + 64)) != 0) return 1;
  bench::measure(settings, argv[1], static_cast<float*>(pool), [](float* data, std::int64_t n) {
    MPI_Allreduce(MPI_IN_PLACE, data, static_cast<int>(n), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  });
  MPI_Finalize();
  return 0;
}
