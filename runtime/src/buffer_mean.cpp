// SPDX-License-Identifier: Apache-2.0
#include "buffer_mean.hpp"

#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>

#include "lockstep/comm/tensor_dtype.hpp"

namespace lockstep {
namespace {

at::ScalarType sum_dtype(const at::Tensor& buffer) {
  if (!buffer.is_floating_point()) return at::kLong;
  return buffer.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor as_bits(const at::Tensor& floats) {
  return floats.view(floats.scalar_type() == at::kDouble ? at::kLong : at::kInt);
}

}  // namespace

void BufferMean::Pack::add(at::Tensor buffer) {
  elements += buffer.numel();
  dtype = sum_dtype(buffer);
  buffers.push_back(std::move(buffer));
}

void BufferMean::Pack::copy_to(const at::Tensor& flat) const {
  std::vector<at::Tensor> parts;
  for (const at::Tensor& buffer : buffers) parts.push_back(buffer.detach().reshape(-1).to(dtype));
  at::Tensor to = flat;
  at::cat_out(to, parts);
}

void BufferMean::Pack::copy_from(const at::Tensor& flat) {
  std::vector<at::Tensor> parts;
  std::int64_t offset = 0;
  for (const at::Tensor& buffer : buffers) {
    parts.push_back(flat.narrow(0, offset, buffer.numel()).view(buffer.sizes()));
    offset += buffer.numel();
  }
  at::_foreach_copy_(buffers, parts);
}

BufferMean::BufferMean(Communicator& comm, std::vector<at::Tensor> buffers, at::Device device) : comm_(comm) {
  for (at::Tensor& buffer : buffers) {
    if (!buffer.is_floating_point()) {
      integers_.add(std::move(buffer));
      continue;
    }
    const at::ScalarType dtype = sum_dtype(buffer);
    auto group = std::ranges::find_if(groups_, [&](const Group& g) { return g.pack.dtype == dtype; });
    if (group == groups_.end()) group = groups_.emplace(groups_.end());
    group->pack.add(std::move(buffer));
  }
  for (Group& group : groups_) {
    const auto members = static_cast<std::int64_t>(group.pack.buffers.size());
    std::vector<std::int64_t> sizes;
    for (const at::Tensor& buffer : group.pack.buffers) sizes.push_back(buffer.numel());
    group.owners = at::arange(members).repeat_interleave(at::tensor(sizes)).to(device);
    group.sums =
        std::make_unique<TreeAccumulator>(comm_, group.pack.elements + members, dtype_of(group.pack.dtype), device);
    group.pack.at_start = at::empty({group.pack.elements}, group.owners.options().dtype(group.pack.dtype));
  }
  if (integers_.buffers.empty()) return;
  integers_after_ = at::empty({integers_.elements}, at::TensorOptions(at::kLong).device(device));
  integers_.at_start = at::empty_like(integers_after_);
}

void BufferMean::remember_start() {
  for (Group& group : groups_) group.pack.copy_to(group.pack.at_start);
  if (!integers_.buffers.empty()) integers_.copy_to(integers_.at_start);
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
    for (Group& group : groups_) group.pack.copy_from(group.pack.at_start);
    if (!integers_.buffers.empty()) integers_.copy_from(integers_.at_start);
  }
  first_of_rank_ = false;
}

// A tensor's version does not tell whether it changed: BatchNorm's kernels write to the running statistics past it.
void BufferMean::Group::write_leaf(const at::Tensor& leaf) const {
  const at::Tensor now = values(leaf);
  pack.copy_to(now);
  const at::Tensor changed = as_bits(now).ne(as_bits(pack.at_start)).to(leaf.scalar_type());
  flags(leaf).zero_().scatter_reduce_(0, owners, changed, "amax");
  now.add_(0.0);  // −0 becomes +0, as for gradients
}

void BufferMean::end_micro_batch() {
  for (Group& group : groups_) {
    const at::Tensor& leaf = group.sums->leaf();
    if (empty_) {
      leaf.zero_();
    } else {
      group.write_leaf(leaf);
    }
    group.sums->close_leaf();
  }
  if (!integers_.buffers.empty() && leaf_ == plan_.first_non_empty()) integers_.copy_to(integers_after_);
  ++leaf_;
}

void BufferMean::launch(const CollectiveOptions& options) {
  for (Group& group : groups_) {
    const at::Tensor& result = group.sums->result();
    const std::vector<Partial> partials = group.sums->partials();
    group.work.emplace(
        comm_.reduce_partials({result.data_ptr(), result.numel(), dtype_of(result.scalar_type())},
                              {partials, plan_.micro_batches, 1.0 / static_cast<double>(plan_.non_empty())}, options));
  }
  if (!integers_.buffers.empty()) {
    integers_work_.emplace(
        comm_.broadcast(integers_after_, plan_.owner_of_first_non_empty(comm_.world_size()), options));
  }
}

void BufferMean::finish() {
  for (Group& group : groups_) {
    group.work->wait();
    group.work.reset();
    const at::Tensor& mean = group.sums->result();
    const at::Tensor changed = group.flags(mean).ne(0).index_select(0, group.owners);
    at::Tensor now = at::empty_like(group.pack.at_start);
    group.pack.copy_to(now);
    group.pack.copy_from(at::where(changed, group.values(mean), now));
  }
  if (integers_.buffers.empty()) return;
  integers_work_->wait();
  integers_work_.reset();
  integers_.copy_from(integers_after_);
}

}  // namespace lockstep
