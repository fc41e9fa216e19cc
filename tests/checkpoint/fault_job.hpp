// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lockstep/checkpoint/saver.hpp"
#include "lockstep/comm/communicator.hpp"

namespace lockstep::testing {

// What a rank tells the process that started it, which it outlives by nothing.
struct RankReport {
  std::atomic<std::int64_t> durable;  // the newest step of which the saver said so
  std::atomic<int> calls;             // that file_shim counted in the step with the fault
  std::array<char, 4096> failed_call;
  std::array<char, 4096> outcome;  // of the step with the fault: the failure, or "durable" and the warnings, as lines
  std::array<char, 4096> wrong;    // what the rank itself found wrong
};
void put(std::array<char, 4096>& to, const std::string& text);

// A job whose ranks save checkpoints: each a process, forked from this one, over shm.
struct FaultJob {
  std::filesystem::path folder;  // of the checkpoints
  int ranks = 1;
  std::int64_t first_step = 1;
  std::int64_t last_step = 1;
  int keep_last = 2;
  std::chrono::milliseconds disk_timeout = std::chrono::seconds(30);    // of the saver; the communicator's is longer
  std::function<void(int rank, std::int64_t step)> before_save = {};    // arms file_shim, say
  std::function<void(int rank, std::int64_t step)> after_staging = {};  // while it is being written
  std::function<void(int rank, const SaveOutcome&, RankReport&)> after_save = {};
};

struct RankEnd {
  bool ended = false;  // by itself, before the deadline
  int status = 0;      // as of waitpid
  [[nodiscard]] bool well() const noexcept { return ended && status == 0; }
  [[nodiscard]] bool killed() const noexcept;
};

struct JobEnd {
  std::vector<RankEnd> ranks;
  std::shared_ptr<RankReport[]> reports;
  [[nodiscard]] std::int64_t durable() const;  // the newest step that any rank was told of
  [[nodiscard]] bool well() const;
};

// Runs it; every rank gets `patience` to end. A rank leaves with 0 if all went well or PeerDied came, else with 1.
[[nodiscard]] JobEnd run_job(const FaultJob& job, std::chrono::milliseconds patience = std::chrono::seconds(20));

// Places in [0, count), `wanted` of them or all, spread evenly, with the first and the last.
[[nodiscard]] std::vector<std::size_t> spread(std::size_t count, std::size_t wanted);

}  // namespace lockstep::testing
