// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "fake_streams.hpp"
#include "gpu/cuda_api.hpp"
#include "gpu/graph_api.hpp"

namespace lockstep::test {

[[nodiscard]] inline FakeStream& fake(comm::gpu::Stream stream) { return *reinterpret_cast<FakeStream*>(stream); }

// One rank's CUDA: it sees one GPU, number 0.
class FakeCuda final : public comm::gpu::CudaApi {
 public:
  using CudaStatus = comm::gpu::CudaStatus;
  using Stream = comm::gpu::Stream;
  using Event = comm::gpu::Event;

  explicit FakeCuda(int rank);
  ~FakeCuda() override;
  void stop();  // all streams end

  [[nodiscard]] std::string text(CudaStatus status) const override;
  [[nodiscard]] CudaStatus device_count(int& count) override;
  [[nodiscard]] CudaStatus facts(int device, comm::gpu::DeviceFacts& facts) override;
  [[nodiscard]] CudaStatus bind(int device) override;
  [[nodiscard]] Stream current_stream(int device) override;
  [[nodiscard]] CudaStatus create_stream(Stream& stream) override;
  [[nodiscard]] CudaStatus destroy_stream(Stream stream) override;
  [[nodiscard]] bool capturing(Stream stream) override;
  [[nodiscard]] CudaStatus create_event(Event& event) override;
  [[nodiscard]] CudaStatus destroy_event(Event event) override;
  [[nodiscard]] CudaStatus record(Event event, Stream stream) override;
  [[nodiscard]] CudaStatus make_wait(Stream stream, Event event) override;
  [[nodiscard]] CudaStatus query(Event event) override;
  [[nodiscard]] CudaStatus allocate(std::byte*& memory, std::size_t bytes) override;
  [[nodiscard]] CudaStatus free(std::byte* memory) override;
  [[nodiscard]] CudaStatus allocate_pinned(std::byte*& memory, std::size_t bytes) override;
  [[nodiscard]] CudaStatus free_pinned(std::byte* memory) override;
  [[nodiscard]] CudaStatus copy(void* to, const void* from, std::size_t bytes, Stream stream) override;
  [[nodiscard]] CudaStatus fill_zero(void* memory, std::size_t bytes, Stream stream) override;
  [[nodiscard]] bool has_kernels() const override { return has_kernels_; }
  [[nodiscard]] CudaStatus reduce_slices(const comm::gpu::ReduceSlices& call, Stream stream) override;
  [[nodiscard]] CudaStatus scaled_copy(std::span<const comm::gpu::ScaledCopy> copies, double scale, bool add,
                                       Stream stream) override;
  [[nodiscard]] CudaStatus unscale(const comm::gpu::Unscale& call, Stream stream) override;

  // For the tests.
  void set_uuid(const std::string& uuid) { facts_.uuid = uuid; }
  [[nodiscard]] const std::string& uuid() const noexcept { return facts_.uuid; }
  void remove_kernels() { has_kernels_ = false; }
  void run_default_stream_on_caller();
  void fail_allocations(bool fail) { fail_allocations_ = fail; }
  void hold_streams(bool hold) { control_.held = hold; }
  [[nodiscard]] int events_alive() const noexcept { return events_alive_; }
  [[nodiscard]] int blocks_alive() const;
  [[nodiscard]] int host_waits() const noexcept { return host_waits_; }
  [[nodiscard]] bool synchronize(std::chrono::milliseconds deadline);
  [[nodiscard]] FakeStream& default_stream() noexcept { return *default_stream_; }
  [[nodiscard]] const StreamControl& control() const noexcept { return control_; }

 private:
  struct FreeBlock {
    void operator()(std::byte* block) const { std::free(block); }
  };
  using Block = std::unique_ptr<std::byte, FreeBlock>;

  StreamControl control_;
  comm::gpu::DeviceFacts facts_;
  std::atomic<bool> has_kernels_{true}, fail_allocations_{false};
  std::atomic<int> events_alive_{0}, host_waits_{0};
  mutable std::mutex mutex_;
  std::unordered_map<std::byte*, Block> blocks_;  // guarded by mutex_
  std::vector<Block> freed_;                      // guarded by mutex_; streams may still work on them
  std::unique_ptr<FakeStream> default_stream_;
  std::vector<std::unique_ptr<FakeStream>> streams_;  // guarded by mutex_; ended with the rank
};

class FakeGraphs final : public comm::gpu::GraphApi {
 public:
  explicit FakeGraphs(FakeCuda& cuda) : cuda_(cuda) {}
  [[nodiscard]] std::unique_ptr<comm::gpu::Graph> make_graph() override;

 private:
  FakeCuda& cuda_;
  std::mutex mutex_;
  std::deque<Capture> captures_;  // guarded by mutex_; streams may still run them when their graph is gone
};

}  // namespace lockstep::test
