// SPDX-License-Identifier: Apache-2.0
#include <exception>
#include <thread>
#include <vector>

#include "local_group.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/local.hpp"

namespace lockstep {
namespace {

bool is_victim(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const PeerDied&) {
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace

void detail::run_local_ranks(int world_size, void (*call)(void*, Communicator&), void* body,
                             std::chrono::milliseconds timeout) {
  const auto group = std::make_shared<comm::LocalGroup>(std::make_shared<comm::LocalDomain>(), world_size);
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(world_size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world_size; ++rank) {
    threads.emplace_back([&, rank] {
      Communicator world(comm::make_local_backend(group, rank), "world", timeout);
      try {
        call(body, world);
      } catch (const std::exception& error) {
        errors[static_cast<std::size_t>(rank)] = std::current_exception();
        world.abort(error.what());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::exception_ptr first;
  for (const std::exception_ptr& error : errors) {
    if (error && (!first || (is_victim(first) && !is_victim(error)))) first = error;
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace lockstep
