// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "nccl_lane.hpp"

namespace lockstep::comm::gpu {

// Sends and receives. Those that are called one behind the other go as one NCCL group, when one of them is waited for
// or the next collective is called: two ranks that first send and then receive would else wait for each other for ever.
class NcclMessages {
 public:
  explicit NcclMessages(NcclLane& lane) : lane_(lane) {}
  [[nodiscard]] OperationPtr start(const Request& request, bool captured);
  void flush();  // queues what has been started

 private:
  struct Message;
  class MessageOperation;
  void match_own();
  void finish(Message& message);

  NcclLane& lane_;
  std::vector<std::shared_ptr<Message>> waiting_;                 // with other ranks
  std::vector<std::shared_ptr<Message>> own_sent_, own_awaited_;  // with this rank, without counterpart so far
};

}  // namespace lockstep::comm::gpu
