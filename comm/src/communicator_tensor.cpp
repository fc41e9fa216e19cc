// SPDX-License-Identifier: Apache-2.0
#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <memory>
#include <utility>
#include <vector>

#include "lockstep/base/error.hpp"
#include "lockstep/comm/backend.hpp"
#include "lockstep/comm/communicator.hpp"
#include "lockstep/comm/tensor_dtype.hpp"

// The tensor layer of Communicator: checks shapes, strides and dtypes, then calls the plain one.
namespace lockstep {
namespace {

Buffer buffer_of(const at::Tensor& tensor, const char* call, int memory) {
  const auto refuse = [&](const char* why, const char* fix) {
    throw UsageError({.what = call, .why = why, .fix = fix});
  };
  if (!tensor.defined()) refuse("the tensor is undefined", "pass one that has storage");
  const int index = tensor.device().is_cpu() ? comm::Backend::kHostMemory : tensor.device().index();
  if (index != memory && memory == comm::Backend::kHostMemory) {
    refuse("the tensor is not on the CPU", "use a communicator for its device (gpu_communicator)");
  }
  if (index != memory) refuse("the tensor is not on this rank's GPU", "move it there: tensor.to(runtime.device())");
  if (!tensor.is_non_overlapping_and_dense()) refuse("the tensor is not dense", "call contiguous() first");
  return {tensor.data_ptr(), tensor.numel(), dtype_of(tensor.scalar_type())};
}

Buffer contiguous_buffer_of(const at::Tensor& tensor, const char* call, int memory) {
  const Buffer buffer = buffer_of(tensor, call, memory);
  if (!tensor.is_contiguous()) {
    throw UsageError({.what = call, .why = "the tensor is not contiguous", .fix = "call contiguous() first"});
  }
  return buffer;
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
  return keep(all_reduce(buffer_of(tensor, "all_reduce", backend().memory()), op, options), {tensor});
}

Work Communicator::all_reduce(at::Tensor& output, const at::Tensor& input, ReduceOp op,
                              const CollectiveOptions& options) {
  const Buffer from = buffer_of(input, "all_reduce", backend().memory());
  const Buffer to = buffer_of(output, "all_reduce", backend().memory());
  if (output.sizes() != input.sizes() || output.strides() != input.strides() || to.dtype != from.dtype) {
    throw UsageError({.what = "all_reduce",
                      .why = "output and input differ in shape, strides or dtype",
                      .fix = "make the output by at::empty_like(input)"});
  }
  return keep(all_reduce(to, from.data, op, options), {output, input});
}

Work Communicator::reduce(at::Tensor& tensor, int root, ReduceOp op, const CollectiveOptions& options) {
  const Buffer buffer = buffer_of(tensor, "reduce", backend().memory());
  return keep(reduce(buffer, buffer.data, root, op, options), {tensor});
}

Work Communicator::reduce_scatter(at::Tensor& output, const at::Tensor& input, ReduceOp op,
                                  const CollectiveOptions& options) {
  const Buffer whole = buffer_of(input, "reduce_scatter", backend().memory());
  check_rows(input, output, world_size(), "reduce_scatter");
  return keep(reduce_scatter(buffer_of(output, "reduce_scatter", backend().memory()), whole.data, op, options),
              {output, input});
}

Work Communicator::all_gather(at::Tensor& output, const at::Tensor& input, const CollectiveOptions& options) {
  const Buffer whole = buffer_of(output, "all_gather", backend().memory());
  check_rows(output, input, world_size(), "all_gather");
  return keep(all_gather(whole.data, buffer_of(input, "all_gather", backend().memory()), options), {output, input});
}

Work Communicator::broadcast(at::Tensor& tensor, int root, const CollectiveOptions& options) {
  return keep(broadcast(buffer_of(tensor, "broadcast", backend().memory()), root, options), {tensor});
}

Work Communicator::gather(at::Tensor& output, const at::Tensor& input, int root, const CollectiveOptions& options) {
  const bool receives = rank() == root;
  if (receives) check_rows(output, input, world_size(), "gather");
  void* const rows = receives ? buffer_of(output, "gather", backend().memory()).data : nullptr;
  return keep(gather(rows, contiguous_buffer_of(input, "gather", backend().memory()), root, options), {output, input});
}

Work Communicator::scatter(at::Tensor& output, const at::Tensor& input, int root, const CollectiveOptions& options) {
  const bool gives = rank() == root;
  if (gives) check_rows(input, output, world_size(), "scatter");
  const void* const rows = gives ? buffer_of(input, "scatter", backend().memory()).data : nullptr;
  return keep(scatter(contiguous_buffer_of(output, "scatter", backend().memory()), rows, root, options),
              {output, input});
}

Work Communicator::all_to_all(at::Tensor& output, const at::Tensor& input, const CollectiveOptions& options) {
  const Buffer from = contiguous_buffer_of(input, "all_to_all", backend().memory());
  const Buffer to = contiguous_buffer_of(output, "all_to_all", backend().memory());
  if (input.dim() == 0 || input.size(0) != world_size() || output.sizes() != input.sizes() || to.dtype != from.dtype) {
    throw UsageError({.what = "all_to_all",
                      .why = "output and input must both be of shape [world_size, …] and of one dtype",
                      .fix = {}});
  }
  return keep(all_to_all(to.data, from, options), {output, input});
}

Work Communicator::send(const at::Tensor& tensor, int to, const CollectiveOptions& options) {
  return keep(send(contiguous_buffer_of(tensor, "send", backend().memory()), to, options), {tensor});
}

Work Communicator::receive(at::Tensor& tensor, int from, const CollectiveOptions& options) {
  return keep(receive(contiguous_buffer_of(tensor, "receive", backend().memory()), from, options), {tensor});
}

}  // namespace lockstep
