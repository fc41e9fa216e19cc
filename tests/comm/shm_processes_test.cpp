// SPDX-License-Identifier: Apache-2.0
// The shm backend between processes that are stopped or leave. (Those that are killed: shm_kills.cpp.)
#include "comm/shm_processes.hpp"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string>
#include <thread>

#include "lockstep/base/error.hpp"
#include "lockstep/comm/backend.hpp"
#include "peer_watch.hpp"

namespace lockstep::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::int64_t sum_over(Communicator& communicator, std::int64_t value) {
  communicator.all_reduce({&value, 1, DType::int64}).wait();
  return value;
}

void be_stopped(Communicator& world) {
  raise(SIGSTOP);
  world.barrier();  // the others were here, before they gave up
  EXPECT_THROW(world.barrier(), CommError);
  EXPECT_THAT([&] { auto left = world.shrink("left"); },
              ThrowsMessage<CommError>(HasSubstr("the other survivors, 2 of 3 ranks, have gone on without it")));
}

void go_on_without(int stopped, Communicator& world) {
  EXPECT_THAT([&] { world.barrier(); },
              ThrowsMessage<TimeoutError>(HasSubstr("waiting for rank " + std::to_string(stopped) + " (here)")));
  Communicator left = world.shrink("left");
  EXPECT_EQ(left.world_size(), 2);
  EXPECT_EQ(sum_over(left, world.rank()), 3 - stopped);
}

TEST(ShmProcesses, that_are_stopped_are_named_by_the_timeout_of_the_others_and_left_out) {
  for (const int stopped : {0, 1}) {
    ShmProcesses processes(3, std::chrono::milliseconds(1000), [stopped](Communicator& world) {
      world.barrier({.timeout = std::chrono::seconds(30)});
      if (world.rank() == stopped) {
        be_stopped(world);
      } else {
        go_on_without(stopped, world);
      }
      return ::testing::Test::HasFailure() ? 1 : 0;
    });
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    EXPECT_EQ(processes.wait(2, deadline), 0);
    EXPECT_EQ(processes.wait(1 - stopped, deadline), 0);
    processes.signal(stopped, SIGCONT);
    EXPECT_EQ(processes.wait(stopped, deadline), 0);
  }
}

// A rank that waits may look for deaths just after a peer has done its part and left.
TEST(ShmProcesses, that_have_left_are_missed_only_if_what_they_did_is_not_enough) {
  const auto left = shared_array<std::atomic<bool>>(1);
  ShmProcesses processes(2, std::chrono::seconds(30), [&](Communicator& world) {
    double value = 2.5;
    if (world.rank() == 0) {
      world.send({&value, 1, DType::float64}, 1).wait();
      return 0;
    }
    while (!left[0]) std::this_thread::yield();
    world.backend().idle(std::chrono::seconds(1));
    double received = 0;
    world.receive({&received, 1, DType::float64}, 0).wait();
    EXPECT_EQ(received, value);
    EXPECT_THAT(
        [&] {
          world.receive({&received, 1, DType::float64}, 0).wait();
        },
        ThrowsMessage<PeerDied>(HasSubstr("rank 0 (pid")));
    return ::testing::Test::HasFailure() ? 1 : 0;
  });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  EXPECT_EQ(processes.wait(0, deadline), 0);
  left[0] = true;
  EXPECT_EQ(processes.wait(1, deadline), 0);
}

// Nobody can get a descriptor of such a process any more.
TEST(PeerWatch, tells_of_a_rank_that_had_ended_before_it_was_watched) {
  const pid_t ended = fork();
  if (ended == 0) _exit(0);
  waitpid(ended, nullptr, 0);
  const comm::PeerWatch watch({{"here", getpid()}, {"here", getppid()}, {"here", ended}}, {1, 2});
  EXPECT_THAT(watch.dead_ranks(), ElementsAre(2));
  EXPECT_THAT(watch.part({2, 0}).dead_ranks(), ElementsAre(0));
}

}  // namespace
}  // namespace lockstep::testing
