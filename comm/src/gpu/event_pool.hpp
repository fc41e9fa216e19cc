// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "libraries.hpp"

namespace lockstep::comm::gpu {

// Events that are used again and again. Thread-safe.
class EventPool {
 public:
  explicit EventPool(CudaApi& cuda) : cuda_(cuda) {}
  EventPool(const EventPool&) = delete;
  EventPool& operator=(const EventPool&) = delete;
  ~EventPool();
  // Shared by all that still ask for it; returns to the pool when the last has let go. Throws BackendFailure. The pool
  // outlives them.
  [[nodiscard]] std::shared_ptr<EventHandle> take();

 private:
  CudaApi& cuda_;
  std::mutex mutex_;
  std::vector<Event> free_;  // guarded by mutex_
};

}  // namespace lockstep::comm::gpu
