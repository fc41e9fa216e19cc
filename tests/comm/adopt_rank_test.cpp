// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <mpi.h>

#include "lockstep/comm/mpi.hpp"
#include "support/rank_world.hpp"

namespace lockstep::testing {
namespace {

// A program that runs MPI itself lends us a communicator and goes on using it.
TEST(Ranks, an_adopted_communicator_leaves_the_callers_alone) {
  Communicator adopted = adopt(MPI_COMM_WORLD);
  EXPECT_EQ(adopted.world_size(), world().world_size());
  std::int64_t ours = 1;
  Work work = adopted.all_reduce({&ours, 1, DType::int64});
  int theirs = 1;
  MPI_Allreduce(MPI_IN_PLACE, &theirs, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  work.wait();
  EXPECT_EQ(ours, theirs);
  adopted.close();
}

// MPI_Finalize frees it, which must find no request open: the end of this program shows it.
TEST(Ranks, an_adopted_communicator_need_not_be_closed) {
  Communicator adopted = adopt(MPI_COMM_WORLD);
  const Communicator duplicate = adopted.duplicate("left open");
  EXPECT_EQ(duplicate.rank(), adopted.rank());
  adopted.barrier();
}

}  // namespace
}  // namespace lockstep::testing
