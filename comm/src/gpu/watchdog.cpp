// SPDX-License-Identifier: Apache-2.0
#include "watchdog.hpp"

#include <pthread.h>

namespace lockstep::comm::gpu {

Watchdog::Watchdog() : thread_([this] { run(); }) {
  // The kernel takes at most 15 characters: "lockstep-watchdog" is cut.
  pthread_setname_np(thread_.native_handle(), "lockstep-watchd");
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Watchdog::watch(std::weak_ptr<WatchedComm> comm) {
  const std::lock_guard lock(mutex_);
  watched_.push_back(std::move(comm));
}

void Watchdog::run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    std::erase_if(watched_, [](const std::weak_ptr<WatchedComm>& comm) { return comm.expired(); });
    const std::vector<std::weak_ptr<WatchedComm>> watched = watched_;
    lock.unlock();
    bool hurries = false;
    for (const std::weak_ptr<WatchedComm>& each : watched) {
      const std::shared_ptr<WatchedComm> comm = each.lock();
      if (!comm) continue;
      if (const auto failure = comm->look(Clock::now())) comm->give_up(*failure);
      hurries = hurries || (comm->hurries() && !comm->failed());
    }
    lock.lock();
    const auto pause = hurries ? std::chrono::milliseconds(1) : WatchedComm::kPeriod;
    changed_.wait_for(lock, pause, [this] { return stop_; });
  }
}

}  // namespace lockstep::comm::gpu
