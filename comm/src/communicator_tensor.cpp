// SPDX-License-Identifier: Apache-2.0
#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <memory>
#include <utility>
#include <vector>

#include "lockstep/base/error.hpp"
#include "lockstep/comm/communicator.hpp"
#include "lockstep/comm/tensor_dtype.hpp"

// The tensor layer of Communicator: checks shapes, strides and dtypes, then calls the plain one.
namespace lockstep {
namespace {

Buffer buffer_of(const at::Tensor& tensor, const char* call) {
  const auto refuse = [&](const char* why, const char* fix) {
    throw UsageError({.what = call, .why = why, .fix = fix});
  };
  if (!tensor.defined()) refuse("the tensor is undefined", "pass one that has storage");
  if (!tensor.device().is_cpu()) refuse("the tensor is not on the CPU", "use a backend for its device");
  if (!tensor.is_non_overlapping_and_dense()) refuse("the tensor is not dense", "call contiguous() first");
  return {tensor.data_ptr(), tensor.numel(), dtype_of(tensor.scalar_type())};
}

void check_rows(const at::Tensor& whole, const at::Tensor& part, int world_size, const char* call) {
  const bool fits = whole.is_contiguous() && part.is_contiguous() && whole.dim() == part.dim() + 1 &&
                    whole.size(0) == world_size && whole.sizes().slice(1) == part.sizes() &&
                    whole.scalar_type() == part.scalar_type();
  if (!fits) {
    throw UsageError(
        {.what = call,
         .why = "the larger tensor must be contiguous, of shape [world_size, *shape of the smaller] and of its dtype",
         .fix = {}});
  }
}

// `work`, which keeps `tensors` alive until it is done.
Work keep(Work work, std::vector<at::Tensor> tensors) {
  work.keep_alive(std::make_shared<std::vector<at::Tensor>>(std::move(tensors)));
  return work;
}

}  // namespace

Work Communicator::all_reduce(at::Tensor& tensor, ReduceOp op, const CollectiveOptions& options) {
  return keep(all_reduce(buffer_of(tensor, "all_reduce"), op, options), {tensor});
}

Work Communicator::reduce_scatter(at::Tensor& output, const at::Tensor& input, ReduceOp op,
                                  const CollectiveOptions& options) {
  const Buffer whole = buffer_of(input, "reduce_scatter");
  check_rows(input, output, world_size(), "reduce_scatter");
  return keep(reduce_scatter(buffer_of(output, "reduce_scatter"), whole.data, op, options), {output, input});
}

Work Communicator::all_gather(at::Tensor& output, const at::Tensor& input, const CollectiveOptions& options) {
  const Buffer whole = buffer_of(output, "all_gather");
  check_rows(output, input, world_size(), "all_gather");
  return keep(all_gather(whole.data, buffer_of(input, "all_gather"), options), {output, input});
}

Work Communicator::broadcast(at::Tensor& tensor, int root, const CollectiveOptions& options) {
  return keep(broadcast(buffer_of(tensor, "broadcast"), root, options), {tensor});
}

}  // namespace lockstep
