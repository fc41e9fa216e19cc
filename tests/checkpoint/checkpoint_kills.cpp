// SPDX-License-Identifier: Apache-2.0
// usage: checkpoint_kills POINTS
// Jobs of 1 to 4 ranks save checkpoints, and one rank is killed (SIGKILL) just before one of its calls that change
// files. The others must end by themselves; a restart, after others that were killed between any two of its own such
// calls, must find the newest checkpoint that was reported durable, or the one after it, every byte right; and the next
// save must leave nothing over. POINTS of all (rank, call), spread evenly.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "checkpoint/fault_job.hpp"
#include "checkpoint/job_state.hpp"
#include "checkpoint/shim/file_shim.hpp"
#include "lockstep/checkpoint/writer.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep::testing {
namespace {

constexpr std::int64_t kSteps = 8;  // with keep_last = 2: retention is at work from the third on

struct Point {
  int ranks = 1;
  int victim = 0;
  int call = 0;
};

FaultJob job_in(const std::filesystem::path& root, int ranks) {
  return {.folder = root / "checkpoints", .ranks = ranks, .last_step = kSteps};
}

// Every call of every rank of an undisturbed job.
std::vector<Point> all_points() {
  std::vector<Point> points;
  for (int ranks = 1; ranks <= 4; ++ranks) {
    const test::TemporaryDirectory root;
    FaultJob job = job_in(root.path(), ranks);
    job.before_save = [&](int, std::int64_t step) {
      if (step == job.first_step) file_shim_arm(root.path().c_str(), "");
    };
    job.after_save = [](int, const SaveOutcome&, RankReport& report) { report.calls = file_shim_calls(); };
    const JobEnd end = run_job(job);
    if (!end.well() || end.durable() != kSteps) {
      std::fprintf(stderr, "an undisturbed job of %d ranks failed: %s\n", ranks, end.reports[0].wrong.data());
      std::exit(1);
    }
    for (int victim = 0; victim < ranks; ++victim) {
      for (int call = 0; call < end.reports[victim].calls; ++call) points.push_back({ranks, victim, call});
    }
  }
  return points;
}

// The job goes on from `found`: one more step, after which its folder holds what it should.
std::string go_on(const FaultJob& killed, std::int64_t found) {
  const JobEnd end =
      run_job({.folder = killed.folder, .ranks = killed.ranks, .first_step = found + 1, .last_step = found + 1});
  if (!end.well() || end.durable() != found + 1) {
    return "the next save failed: " + std::string(end.reports[0].wrong.data());
  }
  if (const Found next = look(killed.folder, found + 1); !next.wrong.empty()) return next.wrong;
  const auto steps = found > 0 ? std::vector<std::int64_t>{found, found + 1} : std::vector<std::int64_t>{1};
  const std::string rest = left_over(killed.folder, steps);
  return rest.empty() ? "" : "left over: " + rest;
}

// Restarts that are killed before their second call that changes files, until one has none left to make. Returns how
// many there were.
int killed_restarts(const FaultJob& job, const std::filesystem::path& root) {
  for (int killed = 0;; ++killed) {
    const pid_t child = ::fork();
    if (child == 0) {
      file_shim_arm(root.c_str(), "kill:1");
      remove_unfinished_checkpoints(job.folder);
      ::_exit(0);
    }
    int status = 0;
    if (::waitpid(child, &status, 0) != child || WIFEXITED(status)) return killed;
  }
}

// What went wrong, "" if nothing. `reached`: whether the victim came to its call.
std::string try_point(const Point& point, bool& reached, int& restarts) {
  const test::TemporaryDirectory root;
  FaultJob job = job_in(root.path(), point.ranks);
  job.before_save = [&](int rank, std::int64_t step) {
    const std::string mode = "kill:" + std::to_string(point.call);
    if (rank == point.victim && step == job.first_step) file_shim_arm(root.path().c_str(), mode.c_str());
  };
  const JobEnd end = run_job(job);
  reached = end.ranks[static_cast<std::size_t>(point.victim)].killed();
  for (int rank = 0; rank < point.ranks; ++rank) {
    const RankEnd& own = end.ranks[static_cast<std::size_t>(rank)];
    if (!own.ended) return "rank " + std::to_string(rank) + " did not end";
    if (rank != point.victim && !own.well()) {
      return "rank " + std::to_string(rank) + " left with " + std::to_string(own.status) + ": " +
             end.reports[rank].wrong.data();
    }
  }
  restarts += killed_restarts(job, root.path());
  const Found found = restart(job.folder, end.durable());
  if (!found.wrong.empty()) return found.wrong;
  if (found.step > end.durable() + 1) return "found step " + std::to_string(found.step);
  return go_on(job, found.step);
}

int run(std::size_t wanted) {
  const std::vector<Point> points = all_points();
  std::size_t tried = 0;
  std::size_t reached_points = 0;
  int failed = 0;
  int restarts = 0;
  for (const std::size_t place : spread(points.size(), wanted)) {
    const Point& point = points[place];
    bool reached = false;
    const std::string wrong = try_point(point, reached, restarts);
    ++tried;
    if (reached) ++reached_points;
    if (wrong.empty()) continue;
    ++failed;
    std::printf("%d ranks, rank %d killed at call %d: %s\n", point.ranks, point.victim, point.call, wrong.c_str());
  }
  std::printf("%zu of %zu points, %zu killed, %d killed restarts, %d failed\n", tried, points.size(), reached_points,
              restarts, failed);
  // Threads may make a call or two fewer than in the job that was counted; that must stay the exception.
  return failed == 0 && tried > 0 && reached_points * 10 >= tried * 9 ? 0 : 1;
}

}  // namespace
}  // namespace lockstep::testing

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: checkpoint_kills POINTS\n"), 2;
  return lockstep::testing::run(std::strtoul(argv[1], nullptr, 10));
}
