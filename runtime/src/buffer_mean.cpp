// SPDX-License-Identifier: Apache-2.0
#include "buffer_mean.hpp"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>

#include "lockstep/comm/tensor_dtype.hpp"

namespace lockstep {
namespace {

DType sum_dtype(const at::Tensor& buffer) {
  return buffer.scalar_type() == at::kDouble ? DType::float64 : DType::float32;
}

// A tensor's version does not tell: BatchNorm's kernels write to the running statistics past it.
bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor plain_a = a.contiguous();
  const at::Tensor plain_b = b.contiguous();
  return plain_a.nbytes() == 0 ||
         std::memcmp(plain_a.const_data_ptr(), plain_b.const_data_ptr(), plain_a.nbytes()) == 0;
}

}  // namespace

BufferMean::BufferMean(Communicator& comm, std::vector<at::Tensor> buffers) : comm_(comm) {
  std::int64_t integer_elements = 0;
  for (at::Tensor& buffer : buffers) {
    if (!buffer.is_floating_point()) {
      integer_elements += buffer.numel();
      integers_.push_back(std::move(buffer));
      continue;
    }
    const DType dtype = sum_dtype(buffer);
    auto group = std::find_if(groups_.begin(), groups_.end(), [&](const Group& g) { return g.dtype == dtype; });
    if (group == groups_.end()) {
      groups_.emplace_back();
      group = groups_.end() - 1;
      group->dtype = dtype;
    }
    group->members.push_back(floating_.size());
    const std::int64_t elements = buffer.numel();
    floating_.push_back({.buffer = std::move(buffer), .at_start = {}, .offset = group->elements});
    group->elements += elements;
  }
  for (Group& group : groups_) {
    group.flags_at = group.elements;
    group.elements += static_cast<std::int64_t>(group.members.size());
    group.sums = std::make_unique<TreeAccumulator>(comm_, group.elements, group.dtype);
  }
  if (!integers_.empty()) integers_after_ = at::empty({integer_elements}, at::kLong);
}

void BufferMean::remember_start() {
  for (Floating& one : floating_) one.at_start = one.buffer.clone();
  integers_at_start_.clear();
  for (const at::Tensor& buffer : integers_) integers_at_start_.push_back(buffer.clone());
}

void BufferMean::begin_step(const StepPlan& plan) {
  plan_ = plan;
  leaf_ = plan.owned.first;
  first_of_rank_ = true;
  for (Group& group : groups_) group.sums->begin(plan.owned.first, plan.micro_batches);
}

void BufferMean::begin_micro_batch(bool empty) {
  empty_ = empty;
  if (!first_of_rank_) {
    for (Floating& one : floating_) one.buffer.copy_(one.at_start);
    for (std::size_t i = 0; i < integers_.size(); ++i) integers_[i].copy_(integers_at_start_[i]);
  }
  first_of_rank_ = false;
}

void BufferMean::end_micro_batch() {
  for (Group& group : groups_) {
    const at::Tensor& leaf = group.sums->leaf();
    for (std::size_t i = 0; i < group.members.size(); ++i) {
      const Floating& one = floating_[group.members[i]];
      const bool changed = !empty_ && !same_bits(one.buffer, one.at_start);
      leaf[group.flags_at + static_cast<std::int64_t>(i)].fill_(changed ? 1.0 : 0.0);
      at::Tensor place = leaf.narrow(0, one.offset, one.buffer.numel());
      if (empty_) {
        place.zero_();
      } else {
        place.copy_(one.buffer.reshape(-1)).add_(0.0);  // −0 becomes +0, as for gradients
      }
    }
    group.sums->close_leaf();
  }
  if (!integers_.empty() && leaf_ == plan_.first_non_empty()) {
    std::int64_t offset = 0;
    for (const at::Tensor& buffer : integers_) {
      integers_after_.narrow(0, offset, buffer.numel()).copy_(buffer.reshape(-1));
      offset += buffer.numel();
    }
  }
  ++leaf_;
}

void BufferMean::launch(const CollectiveOptions& options) {
  for (Group& group : groups_) {
    const at::Tensor& result = group.sums->result();
    const std::vector<Partial> partials = group.sums->partials();
    group.work.emplace(
        comm_.reduce_partials({result.data_ptr(), group.elements, group.dtype},
                              {partials, plan_.micro_batches, 1.0 / static_cast<double>(plan_.non_empty())}, options));
  }
  if (!integers_.empty()) {
    integers_work_.emplace(
        comm_.broadcast(integers_after_, plan_.owner_of_first_non_empty(comm_.world_size()), options));
  }
}

void BufferMean::finish() {
  for (Group& group : groups_) {
    group.work->wait();
    group.work.reset();
    const at::Tensor& mean = group.sums->result();
    for (std::size_t i = 0; i < group.members.size(); ++i) {
      const Floating& one = floating_[group.members[i]];
      if (mean[group.flags_at + static_cast<std::int64_t>(i)].item<double>() == 0.0) continue;
      one.buffer.copy_(mean.narrow(0, one.offset, one.buffer.numel()).view(one.buffer.sizes()));
    }
  }
  if (integers_.empty()) return;
  integers_work_->wait();
  integers_work_.reset();
  std::int64_t offset = 0;
  for (at::Tensor& buffer : integers_) {
    buffer.copy_(integers_after_.narrow(0, offset, buffer.numel()).view(buffer.sizes()));
    offset += buffer.numel();
  }
}

}  // namespace lockstep
