// SPDX-License-Identifier: Apache-2.0
#include "tree_accumulator.hpp"

#include <ATen/ops/from_blob.h>

#include "lockstep/comm/tensor_dtype.hpp"

namespace lockstep {

TreeAccumulator::TreeAccumulator(Communicator& comm, std::int64_t elements, DType dtype, at::Device device)
    : comm_(comm), elements_(elements), dtype_(dtype), device_(device) {
  add_slot();
}

void TreeAccumulator::add_slot() {
  const std::shared_ptr<std::byte> memory = comm_.allocate(static_cast<std::size_t>(elements_) * size_of(dtype_));
  slots_.push_back(at::from_blob(
      memory.get(), {elements_}, [memory](void*) {}, at::TensorOptions(scalar_type_of(dtype_)).device(device_),
      device_));
}

void TreeAccumulator::begin(std::int64_t first_leaf, std::int64_t total_leaves) {
  next_leaf_ = first_leaf;
  total_leaves_ = total_leaves;
  stack_.clear();
}

const at::Tensor& TreeAccumulator::leaf() {
  if (slots_.size() == stack_.size()) add_slot();
  return slots_[stack_.size()];
}

void TreeAccumulator::close_leaf() {
  static_cast<void>(leaf());
  stack_.push_back({next_leaf_, next_leaf_ + 1});
  ++next_leaf_;
  while (stack_.size() > 1) {
    Range& left = stack_[stack_.size() - 2];
    if (!is_subtree({left.first, stack_.back().last}, total_leaves_)) break;
    slots_[stack_.size() - 2].add_(slots_[stack_.size() - 1]);
    left.last = stack_.back().last;
    stack_.pop_back();
  }
}

std::vector<Partial> TreeAccumulator::partials() const {
  std::vector<Partial> partials;
  for (std::size_t i = 0; i < stack_.size(); ++i) {
    partials.push_back({.first_leaf = stack_[i].first,
                        .leaves = stack_[i].size(),
                        .data = static_cast<const std::byte*>(slots_[i].const_data_ptr())});
  }
  return partials;
}

}  // namespace lockstep
