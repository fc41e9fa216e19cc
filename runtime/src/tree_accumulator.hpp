// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "lockstep/comm/communicator.hpp"

namespace lockstep {

// The partial sums of T(n) over the consecutive leaves that one rank owns, in flat tensors that are kept from step to
// step: leaf after leaf is written to leaf(), close_leaf() adds up what has become a subtree. At most log2(n)+1
// tensors; one if there is one leaf.
class TreeAccumulator {
 public:
  // The memory is `comm`'s own, so that reductions over it copy as little as the backend can. Borrowed.
  // `device`: of that memory.
  TreeAccumulator(Communicator& comm, std::int64_t elements, DType dtype, at::Device device = at::kCPU);

  void begin(std::int64_t first_leaf, std::int64_t total_leaves);
  [[nodiscard]] const at::Tensor& leaf();  // [elements]; to be written whole by the caller, padding excepted
  void close_leaf();

  // The sums of all leaves closed so far. The memory of the first one also takes the result.
  [[nodiscard]] std::vector<Partial> partials() const;
  [[nodiscard]] const at::Tensor& result() const { return slots_.front(); }

 private:
  void add_slot();
  Communicator& comm_;
  std::int64_t elements_;
  DType dtype_;
  at::Device device_;
  std::int64_t total_leaves_ = 1;
  std::int64_t next_leaf_ = 0;
  std::vector<at::Tensor> slots_;  // slot i holds the sum over stack_[i]; the one behind is the open leaf
  std::vector<Range> stack_;
};

}  // namespace lockstep
