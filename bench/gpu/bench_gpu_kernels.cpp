// SPDX-License-Identifier: Apache-2.0
// Bytes that our kernels read and write a second, beside a copy on the device in the same program.
#include <ATen/ATen.h>

#include "gpu_bench.hpp"

namespace lockstep::bench {
namespace {

constexpr int kRounds = 15, kCalls = 20;
constexpr std::int64_t kElements = 16 << 20;  // a call's memory does not fit into the caches

struct Bench {
  const Gpu& gpu;
  c10::Device device;

  template <class Call>
  void report(const std::string& kernel, double bytes, Call call) const {
    const auto seconds = time_on_device(device, kRounds, kCalls, call);
    print({{"bench", "kernels"},
           {"gpu", gpu.name()},
           {"kernel", kernel},
           {"bytes", bytes},
           {"gb_per_s", bytes / median(seconds) / 1e9}});
  }
};

void reduce_slices(const Bench& bench, DType dtype, at::ScalarType type, int slices) {
  comm::gpu::CudaApi& cuda = bench.gpu.device()->cuda();
  const at::Tensor input = at::ones({slices, kElements}, at::TensorOptions().device(bench.device).dtype(type));
  const at::Tensor output = at::empty({kElements}, input.options());
  const std::vector<int> combines = [&] {  // as T(n) adds up n equal leaves
    std::vector<int> all;
    for (int i = 0; i < slices; ++i) all.push_back(__builtin_ctz(static_cast<unsigned>(i + 1)));
    return all;
  }();
  const comm::gpu::ReduceSlices call{.first = static_cast<const std::byte*>(input.const_data_ptr()),
                                     .stride_bytes = static_cast<std::size_t>(kElements) * input.element_size(),
                                     .combines = combines,
                                     .elements = kElements,
                                     .dtype = dtype,
                                     .output = static_cast<std::byte*>(output.data_ptr())};
  const double bytes = static_cast<double>(kElements) * static_cast<double>(input.element_size()) * (slices + 1);
  bench.report("reduce_slices " + std::to_string(slices) + " × " + c10::toString(type), bytes,
               [&] { (void)cuda.reduce_slices(call, cuda.current_stream(bench.gpu.index())); });
}

void scaled_copy(const Bench& bench, at::ScalarType to, bool add) {
  const at::Tensor from = at::ones({kElements}, at::TensorOptions().device(bench.device));
  const at::Tensor target = at::ones({kElements}, from.options().dtype(to));
  const double bytes =
      static_cast<double>(kElements) * (4.0 + static_cast<double>(target.element_size()) * (add ? 2 : 1));
  bench.report(std::string("scaled_copy float32 to ") + c10::toString(to) + (add ? ", added" : ""), bytes,
               [&] { bench.gpu.scaled_copy(target, from, 0.5, add); });
}

void unscale(const Bench& bench) {
  const auto options = at::TensorOptions().device(bench.device);
  std::vector<at::Tensor> own;
  for (int i = 0; i < 16; ++i) own.push_back(at::ones({kElements / 16}, options));
  const at::Tensor scale = at::ones({}, options), non_finite = at::zeros({}, options);
  const at::Tensor norm = at::zeros({}, options.dtype(at::kDouble));
  bench.report("unscale 16 × Float", static_cast<double>(kElements) * 8,
               [&] { bench.gpu.unscale(own, scale, non_finite, norm); });
}

void measure() {
  const auto gpu = open_gpu("kernels");
  if (!gpu) return;
  const Bench bench{*gpu, device_of(*gpu)};
  const at::Tensor from = at::ones({4 * kElements}, at::TensorOptions().device(bench.device));
  at::Tensor to = at::empty_like(from);
  bench.report("copy", static_cast<double>(kElements) * 4 * 8, [&] { to.copy_(from); });
  if (!gpu->device()->cuda().has_kernels()) {
    print({{"bench", "kernels"}, {"skipped", "liblockstep_gpu.so was built without our kernels, or not for this GPU"}});
    return;
  }
  for (const int slices : {2, 8}) {
    reduce_slices(bench, DType::float32, at::kFloat, slices);
    reduce_slices(bench, DType::bfloat16, at::kBFloat16, slices);
  }
  scaled_copy(bench, at::kFloat, false);
  scaled_copy(bench, at::kFloat, true);
  scaled_copy(bench, at::kBFloat16, false);
  unscale(bench);
}

}  // namespace
}  // namespace lockstep::bench

int main() { lockstep::bench::measure(); }
