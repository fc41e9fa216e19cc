// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "gpu/libraries.hpp"

namespace lockstep::test {

// GPUs without a GPU, one for each rank, for ranks that are threads of this process. Device memory is host memory; each
// stream runs what is queued on it in order, on a thread of its own, so that work which should have waited for an event
// and did not is a race (for ThreadSanitizer too). Collectives run when all ranks' streams have come to theirs, the
// n-th of a communicator with the n-th; those that do not fit together never end, as with NCCL. Sums are taken in
// another order than the tree's. The library keeps NCCL's habits: calls on communicators return in_progress now and
// then.
class FakeGpus {
 public:
  explicit FakeGpus(int ranks);
  FakeGpus(const FakeGpus&) = delete;
  FakeGpus& operator=(const FakeGpus&) = delete;
  ~FakeGpus();  // ends the streams; all devices and backends must be gone

  [[nodiscard]] const comm::gpu::Libraries& libraries(int rank);

  // What the ranks find; before their first call.
  void set_version(int version);  // of NCCL: headers, library and libtorch_cuda; default 22809
  void set_versions(const comm::gpu::NcclVersions& versions);
  void set_uuid(int rank, const std::string& uuid);
  void remove_kernels(int rank);
  void remove_nccl(int rank);  // Libraries::nccl is null

  // For tests whose tensors are LibTorch's CPU ones, which it works on at once: so do the default streams. What is
  // queued on them runs in the call, and waits there.
  void run_default_streams_on_caller();

  // Faults, from any thread.
  void fail_next_init(int rank, comm::gpu::NcclStatus status);
  void set_async_error(int rank, comm::gpu::NcclStatus status);  // what async_error() reports of its communicators
  void set_last_error(int rank, const std::string& text);        // NCCL's, of communicators that have none of their own
  void hold_streams(int rank, bool hold);                        // while held, nothing queued runs
  void make_abort_hang(int rank, bool hang);                     // abort and revoke do not return while set
  void fail_allocations(int rank, bool fail);

  // What happened. Names of NcclApi's calls with their communicator's number, in order: "init 0", "all_reduce 0",
  // "abort 0"; communicators are numbered by rank as they are made.
  [[nodiscard]] std::vector<std::string> nccl_calls(int rank) const;
  [[nodiscard]] int events_alive(int rank) const;  // created and not destroyed
  [[nodiscard]] int blocks_alive(int rank) const;  // of memory
  [[nodiscard]] int host_waits(int rank) const;    // calls that a real device would wait in: allocate, free
  // For tests, which may wait: until all streams of the rank have run what was queued. False after `deadline`.
  [[nodiscard]] bool synchronize(int rank, std::chrono::milliseconds deadline = std::chrono::seconds(10));

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// While this lives, `stream` is the current one of this thread (else it is the rank's default stream).
class FakeStreamGuard {
 public:
  explicit FakeStreamGuard(comm::gpu::Stream stream);
  FakeStreamGuard(const FakeStreamGuard&) = delete;
  FakeStreamGuard& operator=(const FakeStreamGuard&) = delete;
  ~FakeStreamGuard();

 private:
  comm::gpu::Stream previous_;
};

}  // namespace lockstep::test
