// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>

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

namespace detail {
void agree(Communicator& world, void (*call)(const void* body), const void* body);
}

// Collective. Runs `body()` on every rank; if it throws an Error on some, all throw that of the lowest such rank, as an
// AgreedError. A CommError is thrown as it is, at once.
template <class Body>
void agree(Communicator& world, const Body& body) {
  detail::agree(
      world, [](const void* called) { (*static_cast<const Body*>(called))(); }, std::addressof(body));
}

// Collective. Runs `decide` on rank 0 only; its result on every rank, or its error.
template <class Decide>
[[nodiscard]] std::string decide_on_rank_0(Communicator& world, const Decide& decide) {
  std::string result;
  agree(world, [&] {
    if (world.rank() == 0) result = decide();
  });
  return world.broadcast(result, 0);
}

}  // namespace lockstep
