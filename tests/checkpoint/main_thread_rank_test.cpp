// SPDX-License-Identifier: Apache-2.0
// MPI_THREAD_FUNNELED is enough: background saves call MPI from the main thread alone. This program's MPI functions are
// those of shim/main_thread_mpi.hpp.
#include <gmock/gmock.h>
#include <mpi.h>

#include <optional>
#include <string>
#include <thread>

#include "checkpoint/job_state.hpp"
#include "checkpoint/shim/main_thread_mpi.hpp"
#include "lockstep/checkpoint/saver.hpp"
#include "support/rank_world.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep::testing {
namespace {

using ::testing::IsEmpty;
using ::testing::StrEq;

TEST(MainThreadMpi, is_told_of_a_call_from_another_thread) {
  static const char* caught = "";
  const WrongThread before = on_wrong_thread([](const char* function) { caught = function; });
  int rank = -1;
  std::thread([&] { MPI_Comm_rank(MPI_COMM_WORLD, &rank); }).join();
  on_wrong_thread(before);
  EXPECT_THAT(caught, StrEq("MPI_Comm_rank"));
}

// Ends the process if the threads that write, or the saver on them, call MPI.
TEST(CheckpointSaver, calls_mpi_from_the_main_thread_alone) {
  Communicator& ranks = world("mpi");
  std::optional<test::TemporaryDirectory> root;
  if (ranks.rank() == 0) root.emplace();
  const std::string folder = ranks.broadcast(root ? (*root / "checkpoints").string() : "", 0);
  const long before = mpi_calls;
  CheckpointSaver saver(ranks, {.folder = folder, .retention = {.keep_last = 1}});
  for (std::int64_t step = 1; step <= 3; ++step) {
    const JobState state(step, ranks.world_size(), ranks.rank());
    saver.save(state.contents(), step % 2 == 0);
    saver.wait_until_staged();
    std::optional<SaveOutcome> outcome;
    while (!outcome) outcome = saver.poll();
    EXPECT_THAT(outcome->failure, IsEmpty());
  }
  EXPECT_GT(mpi_calls, before) << "the program's MPI functions are not those that are watched";
  EXPECT_THAT(look(folder, 3).wrong, IsEmpty());
  ranks.barrier();  // before rank 0 removes it
}

}  // namespace
}  // namespace lockstep::testing
