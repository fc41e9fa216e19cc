// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <deque>
#include <memory>
#include <vector>

#include "lockstep/dataloader/data_loader.hpp"

namespace lockstep {

// Brings the batches of steps to a GPU: copies are queued on a stream of their own, beside what the GPU still computes
// of the step before, and the current stream waits for them; the host does not. The memory of a batch on the device is
// used again when the program has let go of it and the GPU is done with what was queued until then. That of the host is
// kept until it has been read.
class DeviceFeed {
 public:
  DeviceFeed(at::Device device, c10::impl::VirtualGuardImpl guard);
  DeviceFeed(const DeviceFeed&) = delete;
  DeviceFeed& operator=(const DeviceFeed&) = delete;

  // The same step with all values on the device; offsets of ragged columns stay with the host. The batches of the step
  // before must be gone for their memory to be used again.
  [[nodiscard]] LoadedStep bring(LoadedStep step);

 private:
  // An event on the device.
  class Mark {
   public:
    Mark(const c10::impl::VirtualGuardImpl& guard, at::Device device, const c10::Stream& stream);
    Mark(const Mark&) = delete;
    Mark& operator=(const Mark&) = delete;
    ~Mark();
    void let_wait(const c10::Stream& stream) const;
    [[nodiscard]] bool reached() const;

   private:
    const c10::impl::VirtualGuardImpl& guard_;
    at::DeviceIndex device_;
    void* event_ = nullptr;
  };
  struct Slab {
    at::Tensor memory;           // bytes
    std::shared_ptr<Mark> free;  // behind its last use; null: in use
  };
  struct Sent {
    LoadedStep step;  // on the host
    std::shared_ptr<Mark> read;
  };

  [[nodiscard]] std::shared_ptr<Mark> mark(const c10::Stream& stream) const;
  [[nodiscard]] at::Tensor take(const at::Tensor& like, const std::shared_ptr<Mark>& now);
  void copy(Batch& batch, const std::shared_ptr<Mark>& now);

  at::Device device_;
  c10::impl::VirtualGuardImpl guard_;
  c10::Stream stream_;
  std::vector<Slab> slabs_;
  std::deque<Sent> sent_;
};

}  // namespace lockstep
