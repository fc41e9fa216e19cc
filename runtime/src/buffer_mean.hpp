// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
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
  explicit BufferMean(std::vector<at::Tensor> buffers);

  void begin_step(const StepPlan& plan);
  void begin_micro_batch(bool empty);
  void end_micro_batch();

  // How many flags of the used-map are ours, and what this rank puts there: 1 for a buffer that changed.
  [[nodiscard]] std::size_t flags() const noexcept { return floating_.size(); }
  void append_flags(std::vector<float>& flags) const;

  // Collective. Starts the reductions; finish() applies them where `flags` (summed over all ranks) is not 0.
  void launch(Communicator& comm, const CollectiveOptions& options);
  void finish(std::span<const double> flags);

 private:
  struct Group {  // floating buffers of one dtype, flat
    std::vector<std::size_t> members;
    std::int64_t elements = 0;
    DType dtype = DType::float32;
    std::unique_ptr<TreeAccumulator> sums;
    std::optional<Work> work;
  };
  struct Floating {
    at::Tensor buffer;
    at::Tensor at_start;
    std::int64_t version = 0;
    bool changed = false;
    std::int64_t offset = 0;  // in its group
  };

  std::vector<Floating> floating_;
  std::vector<Group> groups_;
  std::vector<at::Tensor> integers_;
  std::vector<at::Tensor> integers_at_start_;
  at::Tensor integers_after_;  // of the first non-empty micro-batch, packed as int64
  std::optional<Work> integers_work_;
  StepPlan plan_;
  std::int64_t non_empty_ = 1;
  std::int64_t first_non_empty_ = 0;
  std::int64_t leaf_ = 0;
  bool first_of_rank_ = true;
  bool empty_ = false;
};

}  // namespace lockstep
