// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>

#include "event_pool.hpp"
#include "libraries.hpp"
#include "watchdog.hpp"

namespace lockstep::comm::gpu {

// This rank's GPU: what all device communicators of the rank share.
class Device {
 public:
  // Binds the calling thread to GPU `index`. Throws UsageError, BackendFailure.
  Device(const Libraries& libraries, int index);

  [[nodiscard]] int index() const noexcept { return index_; }
  // As Backend::memory() of its communicators: tensors of a mock's memory are on the CPU.
  [[nodiscard]] int memory() const noexcept {
    return libraries_.device_type == c10::DeviceType::CPU ? Backend::kHostMemory : index_;
  }
  [[nodiscard]] const DeviceFacts& facts() const noexcept { return facts_; }
  [[nodiscard]] CudaApi& cuda() const noexcept { return *libraries_.cuda; }
  [[nodiscard]] NcclApi* nccl() const noexcept { return libraries_.nccl; }
  [[nodiscard]] const Libraries& libraries() const noexcept { return libraries_; }
  [[nodiscard]] EventPool& events() noexcept { return events_; }
  [[nodiscard]] Watchdog& watchdog();  // started by the first call
  // Zeroed, of the device; freed with the last reference. Throws BackendFailure with what was asked for.
  [[nodiscard]] std::shared_ptr<std::byte> allocate(std::size_t bytes);
  [[nodiscard]] std::shared_ptr<std::byte> allocate_pinned(std::size_t bytes);

 private:
  const Libraries& libraries_;
  int index_;
  DeviceFacts facts_;
  EventPool events_;
  std::unique_ptr<Watchdog> watchdog_;
};

}  // namespace lockstep::comm::gpu
