// SPDX-License-Identifier: Apache-2.0
// Disks that are slow or never come back, and file systems without locks: nobody hangs.
#include <gmock/gmock.h>

#include <string>

#include "checkpoint/fault_job.hpp"
#include "checkpoint/job_state.hpp"
#include "checkpoint/shim/file_shim.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep::testing {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StrEq;

constexpr int kRanks = 2;

// Two steps; once the second is staged, the file system of the ranks that `affects` tells is in `mode`.
template <class Affects>
FaultJob job_on(const std::filesystem::path& root, const std::string& mode, Affects affects) {
  FaultJob job{.folder = root / "checkpoints", .ranks = kRanks, .last_step = 2};
  job.after_staging = [=](int rank, std::int64_t step) {
    if (step == 2 && affects(rank)) file_shim_arm(root.c_str(), mode.c_str());
  };
  job.after_save = [](int, const SaveOutcome& outcome, RankReport& report) { put(report.outcome, outcome.failure); };
  return job;
}

TEST(CheckpointSaver, saves_where_file_locks_are_not_available) {
  const test::TemporaryDirectory root;
  const JobEnd end = run_job(job_on(root.path(), "nolocks", [](int) { return true; }));
  EXPECT_TRUE(end.well()) << end.reports[0].wrong.data();
  EXPECT_EQ(end.durable(), 2);
  EXPECT_THAT(restart(root / "checkpoints", 2).wrong, IsEmpty());
}

class SlowDisk : public ::testing::TestWithParam<int> {};

TEST_P(SlowDisk, is_waited_for) {
  const test::TemporaryDirectory root;
  const JobEnd end = run_job(job_on(root.path(), "slow:200", [](int rank) { return rank == GetParam(); }));
  EXPECT_TRUE(end.well()) << end.reports[0].wrong.data();
  EXPECT_EQ(end.durable(), 2);
  EXPECT_THAT(restart(root / "checkpoints", 2).wrong, IsEmpty());
}

TEST_P(SlowDisk, that_never_comes_back_is_named_by_its_rank) {
  const test::TemporaryDirectory root;
  FaultJob job = job_on(root.path(), "slow:3600000", [](int rank) { return rank == GetParam(); });
  job.disk_timeout = seconds(5);  // more than a busy disk takes over the first step
  const JobEnd end = run_job(job, seconds(60));
  for (int rank = 0; rank < kRanks; ++rank) {
    EXPECT_TRUE(end.ranks[static_cast<std::size_t>(rank)].ended) << "rank " << rank << " hangs";
    EXPECT_THAT(end.reports[rank].wrong.data(), StrEq(""));
    EXPECT_THAT(end.reports[rank].outcome.data(), HasSubstr("rank " + std::to_string(GetParam())));
  }
  EXPECT_EQ(end.durable(), 1);
  EXPECT_THAT(restart(root / "checkpoints", 1).wrong, IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(OfRank, SlowDisk, ::testing::Range(0, kRanks));

}  // namespace
}  // namespace lockstep::testing
