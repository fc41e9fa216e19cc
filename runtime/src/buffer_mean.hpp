// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "lockstep/comm/communicator.hpp"
#include "participant.hpp"
#include "tree_accumulator.hpp"

namespace lockstep {

// The buffers of a module (running statistics of BatchNorm) over a step. Every micro-batch starts from those of the
// step's start. After the step, floating ones that some micro-batch changed are the tree mean over the non-empty
// micro-batches; integer ones are those of the first non-empty micro-batch; all others stay untouched.
class BufferMean {
 public:
  BufferMean(Communicator& comm, std::vector<at::Tensor> buffers);  // borrows `comm`

  // The values now are those that the next step starts from. Apart from begin_step(), because a step that is a plain
  // backward pass begins when its forward pass has changed the buffers.
  void remember_start();
  void begin_step(const StepPlan& plan);
  void begin_micro_batch(bool empty);
  void end_micro_batch();

  // Collective. Starts the reductions; finish() applies them.
  void launch(const CollectiveOptions& options);
  void finish();

 private:
  struct Group {  // floating buffers of one dtype, flat; behind them a flag for each: 1 where a micro-batch changed it
    std::vector<std::size_t> members;
    std::int64_t flags_at = 0;
    std::int64_t elements = 0;
    DType dtype = DType::float32;
    std::unique_ptr<TreeAccumulator> sums;
    std::optional<Work> work;
  };
  struct Floating {
    at::Tensor buffer;
    at::Tensor at_start;
    std::int64_t offset = 0;  // in its group
  };

  Communicator& comm_;
  std::vector<Floating> floating_;
  std::vector<Group> groups_;
  std::vector<at::Tensor> integers_;
  std::vector<at::Tensor> integers_at_start_;
  at::Tensor integers_after_;  // of the first non-empty micro-batch, packed as int64
  std::optional<Work> integers_work_;
  StepPlan plan_;
  std::int64_t leaf_ = 0;
  bool first_of_rank_ = true;
  bool empty_ = false;
};

}  // namespace lockstep
