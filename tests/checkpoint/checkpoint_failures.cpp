// SPDX-License-Identifier: Apache-2.0
// usage: checkpoint_failures POINTS
// Two ranks save three steps and keep one. In the second save one call of one rank that changes files fails, or that
// one and all after it, with ENOSPC, EIO, EDQUOT or EROFS: all ranks must be told the same, with the file, the rank and
// the reason; or the checkpoint stands, and a warning tells. The newest checkpoint that was durable is there, and the
// third save leaves nothing over. POINTS of all (error, rank, call, once or not), spread evenly.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <system_error>

#include "checkpoint/fault_job.hpp"
#include "checkpoint/job_state.hpp"
#include "checkpoint/shim/file_shim.hpp"
#include "lockstep/checkpoint/writer.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep::testing {
namespace {

constexpr int kRanks = 2;
constexpr std::int64_t kFaultyStep = 2;

struct Point {
  int error = 0;
  int rank = 0;
  int call = 0;   // of the second save
  int times = 1;  // that calls fail, from this one on
};

constexpr int kAllCalls = 1'000'000;

FaultJob job_in(const std::filesystem::path& root) {
  return {.folder = root / "checkpoints", .ranks = kRanks, .last_step = kFaultyStep + 1, .keep_last = 1};
}

// Ranks see each other's shim no more than their files: `mode` is for one of them.
FaultJob faulty_job(const std::filesystem::path& root, int faulty_rank, const std::string& mode) {
  FaultJob job = job_in(root);
  job.before_save = [=](int rank, std::int64_t step) {
    const bool faulty = step == kFaultyStep && (rank == faulty_rank || faulty_rank < 0);
    file_shim_arm(root.c_str(), faulty ? mode.c_str() : "");
  };
  job.after_save = [=](int rank, const SaveOutcome& outcome, RankReport& report) {
    if (outcome.step != kFaultyStep) return;
    report.calls = file_shim_calls();
    put(report.failed_call, file_shim_failed());
    std::string text = outcome.failure.empty() ? "durable" : outcome.failure;
    for (const std::string& warning : outcome.warnings) text += "\nwarning: " + warning;
    put(report.outcome, text);
    const Found found = look(root / "checkpoints", outcome.failure.empty() ? kFaultyStep : kFaultyStep - 1);
    if (rank == 0) put(report.wrong, found.wrong);
  };
  return job;
}

std::vector<Point> all_points() {
  const test::TemporaryDirectory root;
  const JobEnd end = run_job(faulty_job(root.path(), -1, ""));
  if (!end.well() || end.durable() != kFaultyStep + 1) {
    std::fprintf(stderr, "an undisturbed job failed: %s\n", end.reports[0].wrong.data());
    std::exit(1);
  }
  std::vector<Point> points;
  for (const int error : {ENOSPC, EIO, EDQUOT, EROFS}) {
    for (int rank = 0; rank < kRanks; ++rank) {
      for (int call = 0; call < end.reports[rank].calls; ++call) {
        points.push_back({error, rank, call});
        points.push_back({error, rank, call, kAllCalls});
      }
    }
  }
  return points;
}

// The file that a call named, or the folder in which it worked.
bool names_file(const std::string& text, const std::filesystem::path& path) {
  return text.find(path.filename()) != std::string::npos || text.find(path.parent_path()) != std::string::npos;
}

// Of the outcome of the second save, told by rank 0.
std::string judge_outcome(const Point& point, const std::string& outcome, const std::string& failed_call) {
  const std::string reason = std::generic_category().message(point.error);
  const std::filesystem::path file = failed_call.substr(failed_call.find(' ') + 1);
  if (outcome.find(reason) == std::string::npos) return "the reason is not told: " + outcome;
  if (!names_file(outcome, file)) return "the file is not named: " + outcome;
  if (outcome.starts_with("durable")) return "";
  return outcome.find("rank " + std::to_string(point.rank)) == std::string::npos ? "the rank is not named: " + outcome
                                                                                 : "";
}

std::string try_point(const Point& point, bool& reached) {
  const test::TemporaryDirectory root;
  const std::string mode =
      "fail:" + std::to_string(point.call) + ":" + std::to_string(point.error) + ":" + std::to_string(point.times);
  const JobEnd end = run_job(faulty_job(root.path(), point.rank, mode));
  for (int rank = 0; rank < kRanks; ++rank) {
    const RankEnd& own = end.ranks[static_cast<std::size_t>(rank)];
    if (!own.ended) return "rank " + std::to_string(rank) + " did not end";
    if (!own.well() || end.reports[rank].wrong[0] != '\0') return end.reports[rank].wrong.data();
  }
  if (end.durable() != kFaultyStep + 1) return "the next save failed";
  const std::string outcome = end.reports[0].outcome.data();
  if (outcome != end.reports[1].outcome.data()) return "the ranks were told differently: " + outcome;
  const std::string failed_call = end.reports[point.rank].failed_call.data();
  reached = !failed_call.empty();
  if (reached) {
    const std::string wrong = judge_outcome(point, outcome, failed_call);
    if (!wrong.empty()) return failed_call + ": " + wrong;
  }
  if (const Found found = look(root / "checkpoints", kFaultyStep + 1); !found.wrong.empty()) return found.wrong;
  // What could not be removed, as its removal failed, too, is the next start's.
  if (point.times == kAllCalls) remove_unfinished_checkpoints(root / "checkpoints");
  const std::string rest = left_over(root / "checkpoints", {kFaultyStep + 1});
  return rest.empty() ? "" : failed_call + ": left over: " + rest;
}

int run(std::size_t wanted) {
  const std::vector<Point> points = all_points();
  std::size_t tried = 0;
  std::size_t reached_points = 0;
  int wrong_points = 0;
  for (const std::size_t place : spread(points.size(), wanted)) {
    const Point& point = points[place];
    bool reached = false;
    const std::string wrong = try_point(point, reached);
    ++tried;
    if (reached) ++reached_points;
    if (wrong.empty()) continue;
    ++wrong_points;
    std::printf("%s, rank %d, call %d%s: %s\n", std::generic_category().message(point.error).c_str(), point.rank,
                point.call, point.times > 1 ? " and all after it" : "", wrong.c_str());
  }
  std::printf("%zu of %zu points, %zu failed calls, %d wrong\n", tried, points.size(), reached_points, wrong_points);
  return wrong_points == 0 && tried > 0 && reached_points * 10 >= tried * 9 ? 0 : 1;
}

}  // namespace
}  // namespace lockstep::testing

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: checkpoint_failures POINTS\n"), 2;
  return lockstep::testing::run(std::strtoul(argv[1], nullptr, 10));
}
