// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <random>
#include <vector>

#include "lockstep/comm/communicator.hpp"

namespace lockstep::testing {

// Calls of every kind, sizes on both sides of every switch, up to three in flight. The same on every rank, except that
// each decides for itself whether its memory is ordinary or from allocate().
class RandomCalls {
 public:
  RandomCalls(Communicator& world, unsigned seed);
  void make_some();

 private:
  static constexpr std::int64_t kMost = 200'000;  // floats of one call's input or output
  struct Memory {
    float* input;
    float* output;
  };

  [[nodiscard]] Work make_one(const Memory& memory);
  [[nodiscard]] Work make_one_in_parts(const Memory& memory);
  [[nodiscard]] std::int64_t random_size(std::int64_t most);
  [[nodiscard]] int random_rank() { return static_cast<int>(random_() % static_cast<unsigned>(world_.world_size())); }

  Communicator& world_;
  std::mt19937 random_;
  std::mt19937 own_random_;
  std::vector<std::vector<float>> ordinary_;
  std::vector<std::shared_ptr<std::byte>> shared_;
};

}  // namespace lockstep::testing
