// SPDX-License-Identifier: Apache-2.0
#include "lockstep/runtime/load_module.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "lockstep/checkpoint/reader.hpp"
#include "lockstep/comm/tensor_dtype.hpp"

namespace lockstep {
namespace {

struct Destination {
  at::Tensor tensor;  // the module's
  at::Tensor memory;  // contiguous, on the CPU: the same one where that is what it is
};

void add(const std::string& name, const at::Tensor& tensor, std::vector<LoadTarget>& targets,
         std::vector<Destination>& destinations) {
  const bool direct = tensor.is_contiguous() && tensor.device().is_cpu();
  const at::Tensor memory =
      direct ? tensor : at::empty_like(tensor, at::TensorOptions(at::kCPU), at::MemoryFormat::Contiguous);
  targets.push_back({.name = name,
                     .dtype = dtype_of(tensor.scalar_type()),
                     .global_shape = tensor.sizes().vec(),
                     .first_element = 0,
                     .elements = tensor.numel(),
                     .data = static_cast<std::byte*>(memory.mutable_data_ptr())});
  destinations.push_back({tensor, memory});
}

}  // namespace

LoadReport load_module(torch::nn::Module& module, const std::filesystem::path& checkpoint, const std::string& group,
                       LoadOptions options) {
  const at::NoGradGuard no_grad;
  const std::string prefix = "/" + group + "/";
  if (options.include.empty()) options.include.push_back(prefix + "*");
  std::vector<LoadTarget> targets;
  std::vector<Destination> destinations;
  for (const auto& item : module.named_parameters())
    add(prefix + item.key(), item.value().detach(), targets, destinations);
  for (const auto& item : module.named_buffers()) {
    if (item.value().defined()) add(prefix + item.key(), item.value(), targets, destinations);
  }
  const LoadReport report = load_tensors(Checkpoint::open(checkpoint), targets, options);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    auto& [tensor, memory] = destinations[i];
    const bool loaded = std::ranges::find(report.loaded, targets[i].name) != report.loaded.end();
    if (loaded && !memory.is_same(tensor)) tensor.copy_(memory);
  }
  return report;
}

}  // namespace lockstep
