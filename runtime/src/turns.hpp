// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/CPUGeneratorImpl.h>

#include <mutex>

#include "lockstep/comm/communicator.hpp"

namespace lockstep {

// Ranks that are threads share LibTorch's default generator, so they take turns: one runs until it waits in its
// communicator, and the generator's state goes with it. Lives on the rank's thread while it trains.
class TakeTurns final : public WaitObserver {
 public:
  TakeTurns(Communicator& world, std::mutex& turn) : world_(world), turn_(turn) {
    turn_.lock();
    world_.observe_waits(this);
  }
  TakeTurns(const TakeTurns&) = delete;
  TakeTurns& operator=(const TakeTurns&) = delete;
  ~TakeTurns() override {
    world_.observe_waits(nullptr);
    turn_.unlock();
  }

  void before_wait() override {
    generator_state_ = at::detail::getDefaultCPUGenerator().get_state();
    turn_.unlock();
  }
  void after_wait() override {
    turn_.lock();
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    generator.set_state(generator_state_);
  }

 private:
  Communicator& world_;
  std::mutex& turn_;
  at::Tensor generator_state_;
};

}  // namespace lockstep
