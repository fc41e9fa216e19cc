// SPDX-License-Identifier: Apache-2.0
#include "lockstep/comm/agree.hpp"

#include <gmock/gmock.h>

#include "lockstep/comm/local.hpp"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(Agree, throws_the_error_of_the_lowest_rank_on_all) {
  run_local_ranks(4, [](Communicator& world) {
    const auto body = [&] {
      if (world.rank() == 1) throw DataError({.what = "shard 1", .why = "truncated", .fix = "copy it again"});
      if (world.rank() == 3) throw IoError({.what = "shard 3", .why = "no space", .fix = {}});
    };
    try {
      agree(world, body);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const AgreedError& error) {
      EXPECT_EQ(error.text().what, "shard 1");
      EXPECT_EQ(error.text().why, "truncated");
      EXPECT_EQ(error.text().fix, "copy it again");
      EXPECT_EQ(error.exit_code(), ExitCode::usage);
    }
    world.barrier();  // it goes on working
  });
}

TEST(Agree, keeps_the_exit_code) {
  run_local_ranks(2, [](Communicator& world) {
    try {
      agree(world, [] { throw CheckpointError({.what = "step-1", .why = "disk full", .fix = {}}); });
    } catch (const AgreedError& error) {
      EXPECT_EQ(error.exit_code(), ExitCode::io);
    }
  });
}

TEST(Agree, lets_ranks_without_an_error_go_on) {
  run_local_ranks(3, [](Communicator& world) {
    int calls = 0;
    agree(world, [&] { ++calls; });
    EXPECT_EQ(calls, 1);
  });
}

TEST(Agree, passes_on_that_the_ranks_cannot_talk_any_more) {
  EXPECT_THROW(run_local_ranks(2,
                               [](Communicator& world) {
                                 agree(world, [&] {
                                   if (world.rank() == 0) throw TimeoutError({.what = "barrier", .why = {}, .fix = {}});
                                 });
                               }),
               TimeoutError);
}

TEST(DecideOnRank0, runs_there_only_and_tells_all) {
  run_local_ranks(3, [](Communicator& world) {
    int calls = 0;
    const std::string decided = decide_on_rank_0(world, [&] {
      ++calls;
      return std::string("step 7");
    });
    EXPECT_EQ(decided, "step 7");
    EXPECT_EQ(calls, world.rank() == 0 ? 1 : 0);
  });
}

TEST(DecideOnRank0, throws_its_error_on_all) {
  run_local_ranks(3, [](Communicator& world) {
    const auto decide = [&] {
      return decide_on_rank_0(
          world, []() -> std::string { throw UsageError({.what = "run folder", .why = "in use", .fix = {}}); });
    };
    EXPECT_THAT(decide, ThrowsMessage<AgreedError>(HasSubstr("run folder: in use")));
  });
}

}  // namespace
}  // namespace lockstep::testing
