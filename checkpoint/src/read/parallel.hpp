// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace lockstep {

// Calls work(0) … work(count − 1), each once, by at most `threads` threads with the caller's among them. After an
// exception no new call begins; it is thrown once all have ended.
template <class Work>
void for_all(std::size_t count, int threads, const Work& work) {
  std::atomic<std::size_t> next = 0;
  std::exception_ptr failure;
  std::mutex mutex;  // of `failure`
  const auto run = [&] {
    try {
      for (std::size_t i = next++; i < count; i = next++) work(i);
    } catch (...) {
      next = count;
      const std::scoped_lock lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> helpers;
    const auto wanted = std::min(static_cast<std::size_t>(std::max(threads, 1)), std::max(count, std::size_t{1}));
    try {
      for (std::size_t i = 1; i < wanted; ++i) {
        helpers.emplace_back(run);
        ::pthread_setname_np(helpers.back().native_handle(), "lockstep-load");
      }
    } catch (const std::system_error&) {  // no more threads: those that there are do it
    }
    run();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace lockstep
