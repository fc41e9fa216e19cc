// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "fake_streams.hpp"
#include "gpu/nccl_api.hpp"

namespace lockstep::test {

class Clique;     // the ranks of one communicator
class Gathering;  // ranks that make communicators together
struct FakeComm;  // one rank's handle
struct FakeOp;

// What all ranks' NCCLs share: where those meet that make communicators together.
class FakeNetwork {
 public:
  std::shared_ptr<Gathering> gathering(const std::string& key, std::size_t ranks);
  [[nodiscard]] int next_id() { return ++ids_; }

 private:
  std::atomic<int> ids_{0};
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Gathering>> gatherings_;  // guarded by mutex_
};

// One rank's NCCL.
class FakeNccl final : public comm::gpu::NcclApi {
 public:
  using NcclStatus = comm::gpu::NcclStatus;
  using NcclComm = comm::gpu::NcclComm;
  using Stream = comm::gpu::Stream;

  // `uuid`: of this rank's GPU, asked for in init().
  FakeNccl(FakeNetwork& network, std::function<std::string()> uuid);
  ~FakeNccl() override;
  void stop();  // returns when no call hangs

  [[nodiscard]] const comm::gpu::NcclVersions& versions() const override { return versions_; }
  [[nodiscard]] std::string text(NcclStatus status) const override;
  [[nodiscard]] std::string last_error(NcclComm comm) const override;
  [[nodiscard]] bool reduces(DType dtype, ReduceOp op) const override;
  [[nodiscard]] NcclStatus unique_id(comm::gpu::UniqueId& id) override;
  [[nodiscard]] NcclStatus init(NcclComm& comm, int world_size, const comm::gpu::UniqueId& id, int rank) override;
  [[nodiscard]] NcclStatus shrink(NcclComm comm, std::span<const int> excluded, NcclComm& smaller) override;
  [[nodiscard]] NcclStatus split(NcclComm comm, int color, int key, NcclComm& part) override;
  [[nodiscard]] NcclStatus finalize(NcclComm comm) override;
  [[nodiscard]] NcclStatus destroy(NcclComm comm) override;
  [[nodiscard]] NcclStatus revoke(NcclComm comm) override;
  [[nodiscard]] NcclStatus abort(NcclComm comm) override;
  [[nodiscard]] NcclStatus async_error(NcclComm comm, NcclStatus& state) override;
  [[nodiscard]] NcclStatus group_start() override;
  [[nodiscard]] NcclStatus group_end() override;
  [[nodiscard]] NcclStatus all_reduce(const void* input, void* output, std::size_t elements, DType dtype, ReduceOp op,
                                      NcclComm comm, Stream stream) override;
  [[nodiscard]] NcclStatus reduce(const void* input, void* output, std::size_t elements, DType dtype, ReduceOp op,
                                  int root, NcclComm comm, Stream stream) override;
  [[nodiscard]] NcclStatus reduce_scatter(const void* input, void* output, std::size_t elements, DType dtype,
                                          ReduceOp op, NcclComm comm, Stream stream) override;
  [[nodiscard]] NcclStatus broadcast(const void* input, void* output, std::size_t elements, DType dtype, int root,
                                     NcclComm comm, Stream stream) override;
  [[nodiscard]] NcclStatus all_gather(const void* input, void* output, std::size_t elements, DType dtype, NcclComm comm,
                                      Stream stream) override;
  [[nodiscard]] NcclStatus send(const void* input, std::size_t elements, DType dtype, int to, NcclComm comm,
                                Stream stream) override;
  [[nodiscard]] NcclStatus receive(void* output, std::size_t elements, DType dtype, int from, NcclComm comm,
                                   Stream stream) override;

  // For the tests.
  void set_versions(const comm::gpu::NcclVersions& versions) { versions_ = versions; }
  void fail_next_init(NcclStatus status);
  void set_async_error(NcclStatus status);
  void set_last_error(const std::string& text);
  void make_abort_hang(bool hang) { abort_hangs_ = hang; }
  [[nodiscard]] std::vector<std::string> calls() const;

 private:
  struct Group;  // what this thread has called since group_start()
  static Group& group();
  FakeComm& make();
  static NcclStatus seat(FakeComm& comm, Gathering& gathering, int rank);
  NcclStatus usable(FakeComm& comm) const;
  NcclStatus queue(const char* call, const FakeOp& op, NcclComm comm, Stream stream);
  NcclStatus launch(FakeComm& comm, FakeStream& stream, std::vector<FakeOp> ops);
  NcclStatus make_together(FakeComm& parent, const std::shared_ptr<Gathering>& gathering, NcclComm& made);
  void note(const char* call, const FakeComm& comm);
  void hang_if_told();

  FakeNetwork& network_;
  std::function<std::string()> uuid_;
  comm::gpu::NcclVersions versions_;
  std::atomic<bool> abort_hangs_{false}, stopping_{false};
  std::atomic<int> hanging_{0};
  mutable std::mutex mutex_;
  std::optional<NcclStatus> next_init_failure_;   // guarded by mutex_
  std::vector<std::unique_ptr<FakeComm>> comms_;  // guarded by mutex_; all that were made
  std::string last_error_;                        // guarded by mutex_
  std::vector<std::string> calls_;                // guarded by mutex_
};

}  // namespace lockstep::test
