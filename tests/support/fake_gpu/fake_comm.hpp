// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "fake_collectives.hpp"

namespace lockstep::test {

// What a call on a communicator has begun: polled by async_error() until it is not in_progress.
using Job = std::function<comm::gpu::NcclStatus()>;

// In progress for the first time that it is asked for.
inline Job later(Job job) {
  return [first = true, job = std::move(job)]() mutable {
    return std::exchange(first, false) ? comm::gpu::NcclStatus::in_progress : job();
  };
}

// One rank's handle of a communicator.
struct FakeComm {
  explicit FakeComm(int n) : number(n) {}
  const int number;
  std::atomic<bool> released{false};  // streams leave its operations
  std::atomic<int> running{0};        // launches that were queued and have not ended
  // Guarded by FakeNccl::mutex_.
  std::shared_ptr<Clique> clique{};
  int rank = 0;
  comm::gpu::NcclStatus error = comm::gpu::NcclStatus::success;
  std::string last_error{};
  Job job{};
  bool gone = false, revoked = false;
  int launches = 0, children = 0;
  // Guarded by `sequences`.
  std::mutex sequences;
  std::map<std::pair<int, int>, std::uint64_t> next{};  // by sender and receiver; (−1, −1): collectives
};

[[nodiscard]] inline FakeComm& fake(comm::gpu::NcclComm comm) { return *reinterpret_cast<FakeComm*>(comm); }
[[nodiscard]] inline comm::gpu::NcclComm handle(FakeComm& comm) { return reinterpret_cast<comm::gpu::NcclComm>(&comm); }

}  // namespace lockstep::test
