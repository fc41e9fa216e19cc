// SPDX-License-Identifier: Apache-2.0
// How NCCL communicators come and go.
#include <gmock/gmock.h>

#include <algorithm>

#include "comm/gpu/nccl_ranks.hpp"
#include "comm/thread_ranks.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

std::string failure_of_init(Communicator& world, const std::shared_ptr<comm::gpu::Device>& device) {
  try {
    (void)comm::gpu::make_nccl_backend(device, world.backend().split(0, world.rank()), std::chrono::seconds(20));
  } catch (const comm::BackendFailure& thrown) {
    return thrown.failure.why;
  }
  return "none";
}

TEST(NcclGroup, an_init_that_fails_on_one_rank_is_told_to_all) {
  test::FakeGpus gpus(3);
  gpus.fail_next_init(1, comm::gpu::NcclStatus::system_error);
  run_local_ranks(3, [&](Communicator& world) {
    auto device = std::make_shared<comm::gpu::Device>(gpus.libraries(world.rank()), 0);
    EXPECT_THAT(failure_of_init(world, device),
                AllOf(HasSubstr("ncclCommInitRankConfig failed on rank 1 ("), HasSubstr("ncclSystemError")));
  });
  for (int rank = 0; rank < 3; ++rank) EXPECT_THAT(gpus.nccl_calls(rank), Contains("abort 0"));
}

TEST(NcclGroup, a_rank_that_does_not_come_is_named) {
  test::FakeGpus gpus(2);
  run_local_ranks(2, [&](Communicator& world) {
    auto host = world.backend().split(0, world.rank());
    if (world.rank() == 0) {
      auto device = std::make_shared<comm::gpu::Device>(gpus.libraries(0), 0);
      try {
        (void)comm::gpu::make_nccl_backend(device, std::move(host), std::chrono::milliseconds(200));
        ADD_FAILURE() << "no failure";
      } catch (const comm::BackendFailure& thrown) {
        EXPECT_EQ(thrown.failure.kind, comm::FailureKind::timeout);
        EXPECT_THAT(thrown.failure.why, HasSubstr("waiting for rank 1 "));
      }
    }
    world.barrier();
  });
}

TEST(NcclGroup, ranks_that_call_different_things_are_named) {
  test::FakeGpus gpus(2);
  on_nccl(gpus, 2, [&](NcclRank& rank) {
    const auto memory = rank.device->allocate(5 * sizeof(float));
    EXPECT_THAT(
        [&] {
          rank.gpus.all_reduce({memory.get(), rank.world.rank() == 0 ? 4 : 5, DType::float32}).wait();
          rank.gpus.barrier();
        },
        ThrowsMessage<MismatchError>(
            AllOf(HasSubstr("all_reduce #0 (4 × float32, sum"), HasSubstr("all_reduce #0 (5 × float32, sum"))));
  });
}

TEST(NcclGroup, an_error_of_nccl_is_thrown_by_the_next_call) {
  test::FakeGpus gpus(1);
  on_nccl(gpus, 1, [&](NcclRank& rank) {
    gpus.set_async_error(0, comm::gpu::NcclStatus::internal_error);
    EXPECT_THAT(
        [&] {
          while (true) rank.gpus.barrier();
        },
        ThrowsMessage<CommError>(HasSubstr("ncclInternalError")));
  });
}

TEST(NcclGroup, close_finalizes_and_destroys) {
  test::FakeGpus gpus(2);
  on_nccl(gpus, 2, [&](NcclRank& rank) {
    Communicator copy = rank.gpus.duplicate("copy");
    copy.close();
    rank.gpus.close();
  });
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_THAT(gpus.nccl_calls(rank), AllOf(Contains("split 0"), Contains("finalize 1"), Contains("destroy 1"),
                                             Contains("finalize 0"), Contains("destroy 0"), Not(Contains("abort 0"))));
  }
}

// Over shm, which can shrink. Rank 1 gives up; the others go on as two.
void check_shrink(int version, const char* by) {
  test::FakeGpus gpus(3);
  gpus.set_version(version);
  gpus.run_default_streams_on_caller();
  on_shm_threads(3, [&](Communicator& world) {
    const int rank = world.rank();
    auto device = std::make_shared<comm::gpu::Device>(gpus.libraries(rank), 0);
    Communicator all = nccl_over(world, device, std::chrono::seconds(3));  // rank 1 is given up after it
    Communicator of_host = world.duplicate("host");
    if (rank == 1) return all.abort("shard 7 is truncated");
    float value = 1.0F;
    EXPECT_THROW(
        {
          while (true) all.barrier();
        },
        CommError);
    Communicator rest = all.shrink("rest");
    EXPECT_EQ(rest.world_size(), 2);
    rest.all_reduce({&value, 1, DType::float32}).wait();
    EXPECT_EQ(value, 2.0F);
    rest.barrier();
  });
  EXPECT_THAT(gpus.nccl_calls(0), Contains(by));
}

TEST(NcclGroup, shrinks_by_nccl_what_was_revoked) { check_shrink(22809, "shrink 0"); }
TEST(NcclGroup, is_made_anew_of_the_survivors_where_nccl_cannot_revoke) { check_shrink(22700, "init 1"); }

}  // namespace
}  // namespace lockstep::testing
