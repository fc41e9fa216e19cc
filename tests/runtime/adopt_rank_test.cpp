// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <mpi.h>

#include "lockstep/comm/mpi.hpp"
#include "lockstep/runtime/runtime.hpp"
#include "support/rank_world.hpp"

namespace lockstep::testing {
namespace {

// A program that runs MPI itself lends us its communicator.
TEST(EmbeddedRuntime, adopts_a_communicator_of_the_callers) {
  Runtime rt(adopt(MPI_COMM_WORLD));
  EXPECT_EQ(rt.rank(), world().rank());
  EXPECT_EQ(rt.world_size(), world().world_size());
  EXPECT_EQ(rt.loader_options().micro_batches, world().world_size());
  rt.close();
  EXPECT_EQ(MPI_Barrier(MPI_COMM_WORLD), MPI_SUCCESS);
}

}  // namespace
}  // namespace lockstep::testing
