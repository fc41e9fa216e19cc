// SPDX-License-Identifier: Apache-2.0
#include "signals.hpp"

#include <atomic>

#include "lockstep/comm/flight_recorder.hpp"

namespace lockstep {
namespace {

constexpr int kSignals[] = {SIGTERM, SIGUSR1, SIGINT};
std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void request_stop(int signal) {
  if (signal == SIGINT && stop_requested.load()) {
    std::signal(SIGINT, SIG_DFL);
    std::raise(SIGINT);
    return;
  }
  stop_requested.store(true);
  // A launcher ends the ranks of a failed job with it, a second before SIGKILL: time to tell what this one waited for.
  if (signal == SIGTERM) request_flight_dump();
}

}  // namespace

StopSignals::StopSignals() {
  stop_requested.store(false);
  struct sigaction action {};
  action.sa_handler = request_stop;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &action, &previous_[i]);
}

StopSignals::~StopSignals() {
  for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &previous_[i], nullptr);
}

bool StopSignals::requested() noexcept { return stop_requested.load(); }

}  // namespace lockstep
