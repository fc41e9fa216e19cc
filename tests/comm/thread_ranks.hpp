// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "lockstep/comm/local.hpp"
#include "nodes/nodes_backend.hpp"
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

// Two nodes, of which the first has one rank more if they cannot be equal; shm inside and between.
inline Backends make_two_nodes(int world_size) {
  const int on_first = (world_size + 1) / 2;
  comm::NodeLayout layout{.first_ranks = {0, on_first}};
  Backends inner = comm::shm::make_shm_threads(on_first);
  if (world_size > on_first) {
    layout.first_ranks.push_back(world_size);
    for (auto& backend : comm::shm::make_shm_threads(world_size - on_first)) inner.push_back(std::move(backend));
  }
  Backends backends = comm::shm::make_shm_threads(world_size);
  for (std::size_t rank = 0; rank < backends.size(); ++rank)
    backends[rank] = comm::make_nodes_backend(std::move(backends[rank]), std::move(inner[rank]), layout);
  return backends;
}

// The same over `backend`: "local", "shm" or "nodes".
template <class Body>
void on_threads(std::string_view backend, int world_size, const Body& body,
                std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
  if (backend == "shm") return on_shm_threads(world_size, body, timeout);
  if (backend == "nodes") return on_threads_of(make_two_nodes(world_size), body, timeout);
  run_local_ranks(world_size, body, timeout);
}

}  // namespace lockstep::testing
