// SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <mpi.h>

#include <tuple>

#include "lockstep/comm/mpi.hpp"
#include "lockstep/runtime/runtime.hpp"
#include "runtime/cases.hpp"
#include "support/rank_world.hpp"

namespace lockstep::testing {
namespace {

class RankRuntime : public ::testing::TestWithParam<std::tuple<RuntimeCase, std::string>> {};

TEST_P(RankRuntime, holds) {
  at::set_num_threads(1);
  std::get<0>(GetParam()).check(world(std::get<1>(GetParam())));
}

INSTANTIATE_TEST_SUITE_P(Cases, RankRuntime,
                         ::testing::Combine(::testing::ValuesIn(runtime_cases()),
                                            ::testing::Values("mpi", "shm", "nodes")),
                         [](const auto& instance) {
                           return std::get<0>(instance.param).name + "_on_" + std::get<1>(instance.param);
                         });

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
