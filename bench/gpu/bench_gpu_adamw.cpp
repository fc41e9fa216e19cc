// SPDX-License-Identifier: Apache-2.0
// LibTorch's fused AdamW over 124 million float32 parameters: 28 bytes each, read and written, beside a copy.
#include <ATen/ATen.h>

#include "gpu_bench.hpp"

namespace lockstep::bench {
namespace {

constexpr std::int64_t kTensors = 148, kParameters = 124'439'808;  // of GPT-2 124M

std::vector<at::Tensor> zeros(c10::Device device) {
  std::vector<at::Tensor> all;
  for (std::int64_t i = 0; i < kTensors; ++i)
    all.push_back(at::zeros({kParameters / kTensors}, at::TensorOptions().device(device)));
  return all;
}

void measure() {
  const auto gpu = open_gpu("adamw");
  if (!gpu) return;
  const c10::Device device = device_of(*gpu);
  const auto parameters = zeros(device), gradients = zeros(device), first = zeros(device), second = zeros(device);
  const std::vector<at::Tensor> steps(kTensors, at::ones({}, at::TensorOptions().device(device)));
  const auto update = time_on_device(device, 15, 20, [&] {
    at::_fused_adamw_(parameters, gradients, first, second, {}, steps, 1e-4, 0.9, 0.95, 0.1, 1e-8, false, false);
  });
  const at::Tensor from = at::zeros({kParameters}, at::TensorOptions().device(device));
  at::Tensor to = at::empty_like(from);
  const auto copy = time_on_device(device, 15, 20, [&] { to.copy_(from); });
  const double parameters_done = static_cast<double>(kParameters / kTensors * kTensors);
  print({{"bench", "adamw"},
         {"gpu", gpu->name()},
         {"parameters", parameters_done},
         {"ms", median(update) * 1e3},
         {"gb_per_s", parameters_done * 28 / median(update) / 1e9},
         {"copy_gb_per_s", static_cast<double>(kParameters) * 8 / median(copy) / 1e9}});
}

}  // namespace
}  // namespace lockstep::bench

int main() { lockstep::bench::measure(); }
