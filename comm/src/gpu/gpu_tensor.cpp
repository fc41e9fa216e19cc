// SPDX-License-Identifier: Apache-2.0
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <vector>

#include "device.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/gpu.hpp"
#include "lockstep/comm/tensor_dtype.hpp"
#include "native_error.hpp"
#include "reference.hpp"

// The calls of Gpu on tensors: checked, then handed over to CudaApi.
namespace lockstep {
namespace {

[[noreturn]] void refuse(const char* call, std::string why, std::string fix = {}) {
  throw UsageError({.what = call, .why = std::move(why), .fix = std::move(fix)});
}

// Its dtype, if it is one of floats on this GPU.
DType check_floats(const Gpu& gpu, const at::Tensor& tensor, const char* call) {
  if (!tensor.defined()) refuse(call, "a tensor is undefined", "pass one that has storage");
  if (tensor.device() != gpu.torch_device()) {
    refuse(call, fmt::format("a tensor is on {} and not on GPU {}", tensor.device().str(), gpu.index()),
           "move it there: tensor.to(runtime.device())");
  }
  if (!tensor.is_non_overlapping_and_dense()) refuse(call, "a tensor is not dense", "call contiguous() first");
  const DType dtype = dtype_of(tensor.scalar_type());
  if (!is_floating(dtype)) refuse(call, fmt::format("a tensor is of {}, which is no float", name_of(dtype)));
  return dtype;
}

template <class T>
T* scalar_in(const Gpu& gpu, const at::Tensor& tensor, DType dtype, const char* name) {
  const DType given = check_floats(gpu, tensor, "unscale");
  if (given != dtype || tensor.numel() != 1)
    refuse("unscale", fmt::format("`{}` must be one value of {}", name, name_of(dtype)));
  return static_cast<T*>(tensor.data_ptr());
}

}  // namespace

void Gpu::scaled_copy(const at::Tensor& to, const at::Tensor& from, double scale, bool add) const {
  const DType from_dtype = check_floats(*this, from, "scaled_copy");
  const DType to_dtype = check_floats(*this, to, "scaled_copy");
  if (to.sizes() != from.sizes() || to.strides() != from.strides()) {
    refuse("scaled_copy", "the tensors differ in shape or strides", "make the copy by at::empty_like(from)");
  }
  const comm::gpu::ScaledCopy copy{.from = from.const_data_ptr(),
                                   .to = to.data_ptr(),
                                   .elements = to.numel(),
                                   .from_dtype = from_dtype,
                                   .to_dtype = to_dtype};
  comm::gpu::CudaApi& cuda = device_->cuda();
  check(cuda, cuda.scaled_copy({&copy, 1}, scale, add, cuda.current_stream(index())), "scaled_copy");
}

void Gpu::unscale(std::span<const at::Tensor> tensors, const at::Tensor& scale, const at::Tensor& non_finite,
                  const at::Tensor& squared_norm) const {
  std::vector<comm::gpu::FloatRange> ranges;
  for (const at::Tensor& tensor : tensors) {
    const DType dtype = check_floats(*this, tensor, "unscale");
    ranges.push_back({.data = tensor.data_ptr(), .elements = tensor.numel(), .dtype = dtype});
  }
  const auto bytes = static_cast<std::int64_t>(comm::gpu::unscale_scratch_bytes(ranges));
  comm::gpu::Unscale call{.ranges = ranges,
                          .scale = scalar_in<float>(*this, scale, DType::float32, "scale"),
                          .non_finite = scalar_in<float>(*this, non_finite, DType::float32, "non_finite"),
                          .squared_norm = scalar_in<double>(*this, squared_norm, DType::float64, "squared_norm"),
                          .scratch = nullptr};
  // Of LibTorch, whose memory is used again in the order of the stream, and stays that of a captured graph.
  const at::Tensor scratch = at::empty({bytes}, scale.options().dtype(at::kByte));
  comm::gpu::CudaApi& cuda = device_->cuda();
  call.scratch = static_cast<std::byte*>(scratch.data_ptr());
  check(cuda, cuda.unscale(call, cuda.current_stream(index())), "unscale");
}

}  // namespace lockstep
