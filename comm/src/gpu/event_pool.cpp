// SPDX-License-Identifier: Apache-2.0
#include "event_pool.hpp"

#include "native_error.hpp"

namespace lockstep::comm::gpu {

EventPool::~EventPool() {
  for (const Event event : free_) static_cast<void>(cuda_.destroy_event(event));  // the driver may be unloading
}

std::shared_ptr<EventHandle> EventPool::take() {
  Event event = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      event = free_.back();
      free_.pop_back();
    }
  }
  if (event == nullptr) check(cuda_, cuda_.create_event(event), "cudaEventCreateWithFlags");
  return {event, [this](Event returned) {
            const std::lock_guard lock(mutex_);
            free_.push_back(returned);
          }};
}

}  // namespace lockstep::comm::gpu
