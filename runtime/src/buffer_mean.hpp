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
// micro-batches; integer ones are those of the first non-empty micro-batch; all others stay untouched. Nothing is read
// from the device, and a buffer more costs a GPU no kernel more.
class BufferMean {
 public:
  // Borrows `comm`, which is for memory on `device`, where the buffers are.
  BufferMean(Communicator& comm, std::vector<at::Tensor> buffers, at::Device device);

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
  // Buffers that lie flat, one behind the other, wherever they are copied to.
  struct Pack {
    std::vector<at::Tensor> buffers{};
    std::int64_t elements = 0;          // of all
    at::ScalarType dtype = at::kFloat;  // that they are packed as
    at::Tensor at_start{};

    void add(at::Tensor buffer);
    void copy_to(const at::Tensor& flat) const;
    void copy_from(const at::Tensor& flat);
  };
  struct Group {  // floating buffers of one dtype; behind them a flag for each: 1 where a micro-batch changed it
    Pack pack;
    at::Tensor owners;  // int64 [elements]: the buffer that an element belongs to
    std::unique_ptr<TreeAccumulator> sums;
    std::optional<Work> work;
    [[nodiscard]] at::Tensor values(const at::Tensor& sum) const { return sum.narrow(0, 0, pack.elements); }
    [[nodiscard]] at::Tensor flags(const at::Tensor& sum) const {
      return sum.narrow(0, pack.elements, static_cast<std::int64_t>(pack.buffers.size()));
    }
    void write_leaf(const at::Tensor& leaf) const;
  };

  Communicator& comm_;
  std::vector<Group> groups_;
  Pack integers_{.dtype = at::kLong};
  at::Tensor integers_after_;  // of the first non-empty micro-batch
  std::optional<Work> integers_work_;
  StepPlan plan_;
  std::int64_t leaf_ = 0;
  bool first_of_rank_ = true;
  bool empty_ = false;
};

}  // namespace lockstep
