// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <iterator>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "lockstep/comm/local.hpp"
#include "nodes/nodes_backend.hpp"
#include "shm/shm_world.hpp"

namespace lockstep::testing {

// Runs `body(Communicator& world)` on threads that are ranks; `make(rank)` makes the backend of each, on its thread.
template <class Make, class Body>
void on_threads_of(int world_size, const Make& make, const Body& body, std::chrono::milliseconds timeout) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world_size; ++rank) {
    threads.emplace_back([&, rank] {
      Communicator world(make(static_cast<std::size_t>(rank)), "world", timeout);
      body(world);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Over shm: the same code as between processes, where the sanitizers can follow it.
template <class Body>
void on_shm_threads(int world_size, const Body& body, std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
  auto backends = comm::shm::make_shm_threads(world_size);
  on_threads_of(
      world_size, [&](std::size_t rank) { return std::move(backends[rank]); }, body, timeout);
}

// Over nodes that have so many ranks each; shm inside and between.
template <class Body>
void on_nodes(const std::vector<int>& ranks, const Body& body,
              std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
  std::vector<int> nodes;  // by rank
  std::vector<std::unique_ptr<comm::Backend>> inside;
  for (std::size_t node = 0; node < ranks.size(); ++node) {
    nodes.insert(nodes.end(), static_cast<std::size_t>(ranks[node]), static_cast<int>(node));
    auto of_node = comm::shm::make_shm_threads(ranks[node]);
    std::move(of_node.begin(), of_node.end(), std::back_inserter(inside));
  }
  auto between = comm::shm::make_shm_threads(static_cast<int>(nodes.size()), nodes);
  const auto make = [&](std::size_t rank) {
    return comm::make_nodes_backend(std::move(between[rank]), std::move(inside[rank]));
  };
  on_threads_of(static_cast<int>(nodes.size()), make, body, timeout);
}

// Over `backend`: "local", "shm" or "nodes" (two, of which the first has the odd rank).
template <class Body>
void on_threads(std::string_view backend, int world_size, const Body& body,
                std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
  if (backend == "shm") return on_shm_threads(world_size, body, timeout);
  if (backend == "nodes") return on_nodes({(world_size + 1) / 2, world_size / 2}, body, timeout);
  run_local_ranks(world_size, body, timeout);
}

}  // namespace lockstep::testing
