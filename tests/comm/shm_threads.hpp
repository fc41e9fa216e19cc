// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "lockstep/comm/communicator.hpp"
#include "shm/shm_world.hpp"

namespace lockstep::testing {

// Runs `body` on each rank of a communicator over shm whose ranks are threads.
inline void on_shm_threads(int world_size, const std::function<void(Communicator&)>& body,
                           std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
  auto backends = comm::shm::make_shm_threads(world_size);
  std::vector<std::thread> threads;
  for (auto& backend : backends) {
    threads.emplace_back([&body, &backend, timeout] {
      Communicator world(std::move(backend), "world", timeout);
      body(world);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace lockstep::testing
