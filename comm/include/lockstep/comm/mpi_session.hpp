// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string_view>

#include "lockstep/comm/session.hpp"

namespace lockstep {

// Owner of MPI in a program that does not run it itself.
class MpiSession final : public Session {
 public:
  // Collective. MPI_Init_thread (FUNNELED). A rank that does not come within `timeout` ends this process with a
  // message.
  explicit MpiSession(std::chrono::milliseconds timeout);

  [[nodiscard]] Communicator world(std::string_view backend = "auto") override;
  void finalize() override;
  [[noreturn]] void abort(int code) noexcept override;

 private:
  std::chrono::milliseconds timeout_;
};

}  // namespace lockstep
