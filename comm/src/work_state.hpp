// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "flight_registry.hpp"
#include "lockstep/comm/backend.hpp"
#include "lockstep/comm/communicator.hpp"
#include "lockstep/comm/work.hpp"

namespace lockstep {

// What a communicator and its works share: who it is, and whether it has failed.
struct CommunicatorState {
  std::unique_ptr<comm::Backend> backend;
  std::string name;
  std::chrono::milliseconds timeout;
  std::shared_ptr<flight::Group> flight;
  std::exception_ptr error;  // the first; set once

  [[nodiscard]] std::string who() const;
  // Remembers the first error, tells the peers, and throws that first error.
  // `subject` is describe(…) of the call that failed.
  [[noreturn]] void fail(std::string subject, const comm::Failure& failure);
  [[noreturn]] void fail_by_timeout(const Work::State& work, std::chrono::milliseconds waited);
  void throw_if_failed() const {
    if (error) std::rethrow_exception(error);
  }
  // "all_reduce #7 (400 × float32, sum) of gradients of conv1.weight on "world" (mpi)".
  [[nodiscard]] std::string describe(const comm::Call& call, std::string_view label) const;
};

// All work in flight on this rank, over a communicator and its duplicates: whoever calls in advances all of it, so that
// one communicator's wait does not stall another's transfer.
class ProgressEngine {
 public:
  ProgressEngine() = default;
  ProgressEngine(const ProgressEngine&) = delete;
  ProgressEngine& operator=(const ProgressEngine&) = delete;

  void add(std::shared_ptr<Work::State> work);
  // One slice of at most 50 µs; whether something moved. An error stays with its work. Never throws.
  bool advance() noexcept;
  WaitObserver* observer = nullptr;

 private:
  std::vector<std::shared_ptr<Work::State>> in_flight_;  // in the order of their start
};

// While this lives, the observer takes this rank for waiting.
class Waiting {
 public:
  explicit Waiting(WaitObserver* observer) : observer_(observer) {
    if (observer_ != nullptr) observer_->before_wait();
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  ~Waiting() {
    if (observer_ != nullptr) observer_->after_wait();
  }

 private:
  WaitObserver* observer_;
};

struct Work::State {
  std::shared_ptr<CommunicatorState> communicator;
  std::shared_ptr<ProgressEngine> progress;
  comm::Call call;
  std::string_view label;
  std::chrono::steady_clock::time_point started;
  std::chrono::milliseconds timeout;
  flight::Mark mark;                 // in the flight recorder
  comm::OperationPtr operation;      // null once done
  std::shared_ptr<void> keep_alive;  // the tensors
  std::exception_ptr error;
  bool joined = false;  // the waiting stream comes after it: nobody has to wait on the host

  void wait();
  [[nodiscard]] std::string subject() const { return communicator->describe(call, label); }
  [[nodiscard]] bool finished() const noexcept { return !operation || error || joined; }

 private:
  [[nodiscard]] bool join_stream();
};

}  // namespace lockstep
