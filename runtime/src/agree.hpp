// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "lockstep/base/error.hpp"
#include "lockstep/comm/communicator.hpp"

namespace lockstep {

// An error that every rank throws alike: printed once by rank 0, and all leave in order.
class AgreedError : public Error {
 public:
  AgreedError(ErrorText text, ExitCode code) : Error(std::move(text)), code_(code) {}
  [[nodiscard]] ExitCode exit_code() const noexcept override { return code_; }

 private:
  ExitCode code_;
};

// Collective. Runs `body` on every rank; if it throws an Error on some, all throw that of the lowest such rank.
void agree(Communicator& world, const std::function<void()>& body);

// Collective. Runs `decide` on rank 0 only; its result on every rank, or its error.
[[nodiscard]] std::string decide_on_rank_0(Communicator& world, const std::function<std::string()>& decide);

}  // namespace lockstep
