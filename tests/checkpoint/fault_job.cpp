// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/fault_job.hpp"

#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "checkpoint/job_state.hpp"
#include "comm/shm_processes.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::testing {
namespace {

void save_all(const FaultJob& job, Communicator& world, RankReport& report) {
  CheckpointSaver saver(world,
                        {.folder = job.folder, .retention = {.keep_last = job.keep_last}, .timeout = job.disk_timeout});
  for (std::int64_t step = job.first_step; step <= job.last_step; ++step) {
    const JobState state(step, world.world_size(), world.rank());
    if (job.before_save) job.before_save(world.rank(), step);
    saver.save(state.contents(), step % 2 == 0);
    saver.wait_until_staged();
    if (job.after_staging) job.after_staging(world.rank(), step);
    const SaveOutcome outcome = saver.finish().value();
    if (outcome.failure.empty()) report.durable = step;
    if (job.after_save) job.after_save(world.rank(), outcome, report);
  }
}

}  // namespace

void put(std::array<char, 4096>& to, const std::string& text) {
  to.fill('\0');
  text.copy(to.data(), to.size() - 1);
}

bool RankEnd::killed() const noexcept { return ended && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }

std::int64_t JobEnd::durable() const {
  std::int64_t newest = 0;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    newest = std::max(newest, reports[static_cast<std::ptrdiff_t>(rank)].durable.load());
  }
  return newest;
}

bool JobEnd::well() const {
  return std::ranges::all_of(ranks, [](const RankEnd& end) { return end.well(); });
}

JobEnd run_job(const FaultJob& job, std::chrono::milliseconds patience) {
  JobEnd end{.ranks = {}, .reports = shared_array<RankReport>(job.ranks)};
  ShmProcesses processes(job.ranks, 2 * job.disk_timeout, [&](Communicator& world) {
    RankReport& report = end.reports[world.rank()];
    try {
      save_all(job, world, report);
    } catch (const PeerDied&) {
    } catch (const std::exception& error) {
      put(report.wrong, error.what());
      return 1;
    }
    return 0;
  });
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (int rank = 0; rank < job.ranks; ++rank) {
    const auto status = processes.wait(rank, deadline);
    end.ranks.push_back({.ended = status.has_value(), .status = status.value_or(0)});
  }
  return end;
}

std::vector<std::size_t> spread(std::size_t count, std::size_t wanted) {
  std::vector<std::size_t> places;
  const std::size_t taken = std::min(count, wanted);
  for (std::size_t i = 0; i < taken; ++i) places.push_back(taken == 1 ? 0 : i * (count - 1) / (taken - 1));
  return places;
}

}  // namespace lockstep::testing
