// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "lockstep/comm/local.hpp"
#include "shm/shm_world.hpp"

namespace lockstep::testing {

using Backends = std::vector<std::unique_ptr<comm::Backend>>;

// Runs `body(Communicator& world)` on a thread for each of `backends`, which are the ranks.
template <class Body>
void on_threads_of(Backends backends, const Body& body, std::chrono::milliseconds timeout) {
  std::vector<std::thread> threads;
  for (auto& backend : backends) {
    threads.emplace_back([&body, &backend, timeout] {
      Communicator world(std::move(backend), "world", timeout);
      body(world);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// The same over shm: the code as between processes, where the sanitizers can follow it.
template <class Body>
void on_shm_threads(int world_size, const Body& body, std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
  on_threads_of(comm::shm::make_shm_threads(world_size), body, timeout);
}

// The same over `backend`: "local" or "shm".
template <class Body>
void on_threads(std::string_view backend, int world_size, const Body& body,
                std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
  if (backend == "shm") return on_shm_threads(world_size, body, timeout);
  run_local_ranks(world_size, body, timeout);
}

}  // namespace lockstep::testing
