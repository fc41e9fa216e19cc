// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/shim/main_thread_mpi.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace lockstep::testing {
namespace {

std::atomic<WrongThread> action{[](const char* function) {
  std::fprintf(stderr, "%s was called off the main thread\n", function);
  std::abort();
}};

}  // namespace

WrongThread on_wrong_thread(WrongThread wanted) { return action.exchange(wanted); }

void check_mpi_thread(const char* function) {
  ++mpi_calls;
  if (::gettid() != ::getpid()) action.load()(function);
}

}  // namespace lockstep::testing
