// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "gpu/cuda_api.hpp"

namespace lockstep::testing {

// Another CudaApi whose copies can be made to fail.
class FailingCuda final : public comm::gpu::CudaApi {
 public:
  using CudaStatus = comm::gpu::CudaStatus;
  using Stream = comm::gpu::Stream;
  using Event = comm::gpu::Event;
  static constexpr CudaStatus kIllegalAddress{700};

  explicit FailingCuda(CudaApi& real) : real_(real) {}
  void fail_copies_after(int number) { copies_left_ = number; }

  [[nodiscard]] std::string text(CudaStatus status) const override { return real_.text(status); }
  [[nodiscard]] CudaStatus device_count(int& count) override { return real_.device_count(count); }
  [[nodiscard]] CudaStatus facts(int device, comm::gpu::DeviceFacts& facts) override {
    return real_.facts(device, facts);
  }
  [[nodiscard]] CudaStatus bind(int device) override { return real_.bind(device); }
  [[nodiscard]] Stream current_stream(int device) override { return real_.current_stream(device); }
  [[nodiscard]] CudaStatus create_stream(Stream& stream) override { return real_.create_stream(stream); }
  [[nodiscard]] CudaStatus destroy_stream(Stream stream) override { return real_.destroy_stream(stream); }
  [[nodiscard]] bool capturing(Stream stream) override { return real_.capturing(stream); }
  [[nodiscard]] CudaStatus create_event(Event& event) override { return real_.create_event(event); }
  [[nodiscard]] CudaStatus destroy_event(Event event) override { return real_.destroy_event(event); }
  [[nodiscard]] CudaStatus record(Event event, Stream stream) override { return real_.record(event, stream); }
  [[nodiscard]] CudaStatus make_wait(Stream stream, Event event) override { return real_.make_wait(stream, event); }
  [[nodiscard]] CudaStatus query(Event event) override { return real_.query(event); }
  [[nodiscard]] CudaStatus allocate(std::byte*& memory, std::size_t bytes) override {
    return real_.allocate(memory, bytes);
  }
  [[nodiscard]] CudaStatus free(std::byte* memory) override { return real_.free(memory); }
  [[nodiscard]] CudaStatus allocate_pinned(std::byte*& memory, std::size_t bytes) override {
    return real_.allocate_pinned(memory, bytes);
  }
  [[nodiscard]] CudaStatus free_pinned(std::byte* memory) override { return real_.free_pinned(memory); }
  [[nodiscard]] CudaStatus copy(void* to, const void* from, std::size_t bytes, Stream stream) override {
    return copies_left_-- > 0 ? real_.copy(to, from, bytes, stream) : kIllegalAddress;
  }
  [[nodiscard]] CudaStatus fill_zero(void* memory, std::size_t bytes, Stream stream) override {
    return real_.fill_zero(memory, bytes, stream);
  }
  [[nodiscard]] bool has_kernels() const override { return real_.has_kernels(); }
  [[nodiscard]] CudaStatus reduce_slices(const comm::gpu::ReduceSlices& call, Stream stream) override {
    return real_.reduce_slices(call, stream);
  }
  [[nodiscard]] CudaStatus scaled_copy(std::span<const comm::gpu::ScaledCopy> copies, double scale, bool add,
                                       Stream stream) override {
    return real_.scaled_copy(copies, scale, add, stream);
  }
  [[nodiscard]] CudaStatus unscale(const comm::gpu::Unscale& call, Stream stream) override {
    return real_.unscale(call, stream);
  }

 private:
  CudaApi& real_;
  int copies_left_ = 0;
};

}  // namespace lockstep::testing
