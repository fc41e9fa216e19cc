// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <memory>
#include <thread>

#include "flight_registry.hpp"
#include "lockstep/base/environment.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/comm/flight_recorder.hpp"

namespace lockstep {
namespace {

constinit std::atomic<bool> requested{false};
constinit std::atomic<int> wake_up{-1};  // descriptor that the listener reads; -1: there is none

void wake_listener() noexcept {
  const int saved = errno;
  const std::uint64_t one = 1;
  if (const int descriptor = wake_up.load(); descriptor >= 0) (void)!::write(descriptor, &one, sizeof one);
  errno = saved;
}

extern "C" void request_by_signal(int) { request_flight_dump(); }

// SIGUSR2 makes a thread of its own write the files, so that also a rank can be asked that never waits for its peers.
class SignalListener {
 public:
  SignalListener() : event_(eventfd(0, EFD_CLOEXEC)) {
    wake_up.store(event_.get());
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // inherited: signals are for the program's own threads
    thread_ = std::thread([this] { listen(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_setname_np(thread_.native_handle(), "lockstep-flight");
    struct sigaction action {};
    action.sa_handler = request_by_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR2, &action, &previous_);
  }
  SignalListener(const SignalListener&) = delete;
  SignalListener& operator=(const SignalListener&) = delete;
  ~SignalListener() {
    sigaction(SIGUSR2, &previous_, nullptr);
    ending_.store(true);
    wake_listener();
    thread_.join();
    wake_up.store(-1);
  }

 private:
  void listen() {
    std::uint64_t count = 0;
    while (::read(event_.get(), &count, sizeof count) == sizeof count && !ending_.load()) flight::dump_if_requested();
  }

  FileDescriptor event_;
  struct sigaction previous_ {};
  std::atomic<bool> ending_{false};
  std::thread thread_;  // last: it stops first
};

}  // namespace

void request_flight_dump() noexcept {
  requested.store(true);
  wake_listener();
}

void flight::dump_if_requested() noexcept {
  if (requested.load(std::memory_order_relaxed) && requested.exchange(false)) dump_as_requested();
}

void flight::listen_if_asked() {
  static const auto listener =
      environment_variable("LOCKSTEP_FLIGHT_SIGNAL") ? std::make_unique<SignalListener>() : nullptr;
}

}  // namespace lockstep
