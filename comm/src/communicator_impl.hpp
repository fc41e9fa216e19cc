// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lockstep/comm/communicator.hpp"
#include "work_state.hpp"

namespace lockstep {

class Communicator::Impl {
 public:
  Impl(std::unique_ptr<comm::Backend> backend, std::string name, std::chrono::milliseconds timeout,
       std::shared_ptr<ProgressEngine> progress);

  // Numbers the call, hands it to the backend and registers the work.
  [[nodiscard]] Work start(comm::Request request, const CollectiveOptions& options);

  std::shared_ptr<CommunicatorState> state;
  std::shared_ptr<ProgressEngine> progress;

 private:
  std::uint64_t next_sequence_ = 0;
};

}  // namespace lockstep
