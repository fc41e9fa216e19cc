// SPDX-License-Identifier: Apache-2.0
#include "state_io.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <openssl/evp.h>
#include <torch/nn/module.h>

#include <map>
#include <memory>
#include <set>

#include "lockstep/base/error.hpp"
#include "lockstep/comm/tensor_dtype.hpp"
#include "optimizer_state.hpp"

namespace lockstep {
namespace {

std::string group_name(const std::string& state_name) { return "/" + state_name; }

using NamedTensors = std::map<std::string, at::Tensor>;  // by dataset name

NamedTensors module_parameters(const TrainState& state) {
  NamedTensors tensors;
  for (const auto& [name, module] : state.modules()) {
    for (const auto& item : module->named_parameters()) tensors[group_name(name) + "/" + item.key()] = item.value();
  }
  return tensors;
}

NamedTensors module_buffers(const TrainState& state) {
  NamedTensors tensors;
  for (const auto& [name, module] : state.modules()) {
    for (const auto& item : module->named_buffers()) {
      if (item.value().defined()) tensors[group_name(name) + "/" + item.key()] = item.value();
    }
  }
  return tensors;
}

NamedTensors module_tensors(const TrainState& state) {
  NamedTensors tensors = module_parameters(state);
  tensors.merge(module_buffers(state));
  return tensors;
}

// The names that optimizers' slots go by: the parameter's, with its module's in front where there are several modules.
std::map<const void*, std::string> parameter_names(const TrainState& state) {
  std::map<const void*, std::string> names;
  for (const auto& [name, module] : state.modules()) {
    const std::string prefix = state.modules().size() > 1 ? name + "." : "";
    for (const auto& item : module->named_parameters()) names[item.value().unsafeGetTensorImpl()] = prefix + item.key();
  }
  return names;
}

struct OptimizedParameter {
  torch::optim::Optimizer* optimizer;
  std::string folder;  // "/optimizer/conv1.weight"
  at::Tensor tensor;
};

std::vector<OptimizedParameter> optimized_parameters(const TrainState& state) {
  const auto names = parameter_names(state);
  std::vector<OptimizedParameter> found;
  for (const auto& [name, optimizer] : state.optimizers()) {
    for (const auto& group : optimizer->param_groups()) {
      for (const at::Tensor& parameter : group.params()) {
        const auto known = names.find(parameter.unsafeGetTensorImpl());
        if (known == names.end()) {
          throw UsageError({.what = fmt::format("optimizer \"{}\"", name),
                            .why = "it has a parameter that belongs to no module of the train state",
                            .fix = "add the module to the train state too"});
        }
        found.push_back({optimizer, group_name(name) + "/" + known->second, parameter});
      }
    }
  }
  return found;
}

// The same values where the host can read them, contiguous. From a GPU: to pinned memory, not there yet when this
// returns.
at::Tensor on_the_host(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.detach().contiguous();
  if (plain.is_cpu()) return plain;
  return at::empty_like(plain, at::TensorOptions(at::kCPU).pinned_memory(true)).copy_(plain, /*non_blocking=*/true);
}

// Returns when what the current stream of `device` holds is done.
void wait_for(at::Device device) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  c10::Event event(device.type());
  event.record(guard.getStream(device));
  event.synchronize();
}

void add_tensor(FlatState& flat, const std::string& name, const at::Tensor& tensor, bool changes_in_forward = false) {
  flat.keep_alive.push_back(on_the_host(tensor));
  const at::Tensor& kept = flat.keep_alive.back();
  flat.tensors.push_back({.name = name,
                          .dtype = dtype_of(kept.scalar_type()),
                          .global_shape = kept.sizes().vec(),
                          .first_element = 0,
                          .elements = kept.numel(),
                          .data = static_cast<const std::byte*>(kept.const_data_ptr()),
                          .changes_in_forward = changes_in_forward});
}

[[noreturn]] void refuse(const Checkpoint& checkpoint, const std::string& name, const std::string& why) {
  throw CheckpointError({.what = fmt::format("{} of {}", name, checkpoint.path().string()),
                         .why = why,
                         .fix = "resume with the program that wrote the checkpoint, or start over in another run.dir"});
}

at::Tensor read_tensor(const Checkpoint& checkpoint, const StoredTensor& stored) {
  at::Tensor tensor = at::empty(stored.shape, scalar_type_of(stored.dtype));
  checkpoint.read(stored.name, {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()});
  return tensor;
}

std::string shape_text(const std::vector<std::int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

void check_module_tensor(const Checkpoint& checkpoint, const std::string& name, const at::Tensor& tensor) {
  const StoredTensor* const stored = checkpoint.find(name);
  if (stored == nullptr) refuse(checkpoint, name, "the program has this tensor and the checkpoint has not");
  if (stored->shape != tensor.sizes().vec() || stored->dtype != dtype_of(tensor.scalar_type())) {
    refuse(checkpoint, name,
           fmt::format("the checkpoint has {} {}, the program {} {}", shape_text(stored->shape), name_of(stored->dtype),
                       shape_text(tensor.sizes().vec()), name_of(dtype_of(tensor.scalar_type()))));
  }
}

// Every stored tensor must have an owner in the program: one that is passed over would be lost silently.
void check_all_owned(const Checkpoint& checkpoint, const NamedTensors& modules,
                     const std::vector<OptimizedParameter>& optimized) {
  std::set<std::string> folders;
  for (const OptimizedParameter& parameter : optimized) folders.insert(parameter.folder);
  for (const StoredTensor& stored : checkpoint.tensors()) {
    const bool owned = modules.contains(stored.name) || folders.contains(stored.name.substr(0, stored.name.rfind('/')));
    if (!owned) refuse(checkpoint, stored.name, "the checkpoint has this tensor and the program has not");
  }
}

std::vector<OptimizerSlot> stored_slots(const Checkpoint& checkpoint, const OptimizedParameter& parameter) {
  std::vector<OptimizerSlot> slots;
  const std::string prefix = parameter.folder + "/";
  for (const StoredTensor& stored : checkpoint.tensors()) {
    if (!stored.name.starts_with(prefix)) continue;
    slots.push_back({stored.name.substr(prefix.size()), read_tensor(checkpoint, stored)});
  }
  return slots;
}

std::string blob_of(const Checkpoint& checkpoint, const std::string& name) {
  const auto blob = checkpoint.blob(name);
  if (!blob) refuse(checkpoint, name, "the program has this part of the state and the checkpoint has not");
  return *blob;
}

}  // namespace

FlatState flatten(const TrainState& state) {
  FlatState flat;
  for (const auto& [name, tensor] : module_parameters(state)) add_tensor(flat, name, tensor);
  for (const auto& [name, tensor] : module_buffers(state)) add_tensor(flat, name, tensor, true);
  for (const auto& [optimizer, folder, tensor] : optimized_parameters(state)) {
    for (const OptimizerSlot& slot : optimizer_slots(*optimizer, tensor))
      add_tensor(flat, folder + "/" + slot.name, slot.value);
  }
  for (const auto& [name, tensor] : module_parameters(state)) {
    if (tensor.is_cpu()) continue;
    wait_for(tensor.device());  // once: all copies are on its stream
    break;
  }
  for (const auto& [name, optimizer] : state.optimizers()) flat.blobs[name + ".groups"] = optimizer_groups(*optimizer);
  for (const auto& [name, resumable] : state.resumables()) flat.blobs[name] = resumable->state();
  return flat;
}

void restore(TrainState& state, const Checkpoint& checkpoint, bool with_groups) {
  const at::NoGradGuard no_grad;
  const auto modules = module_tensors(state);
  const auto optimized = optimized_parameters(state);
  for (const auto& [name, tensor] : modules) check_module_tensor(checkpoint, name, tensor);
  check_all_owned(checkpoint, modules, optimized);
  for (const auto& [name, tensor] : modules) tensor.detach().copy_(read_tensor(checkpoint, *checkpoint.find(name)));
  for (const OptimizedParameter& parameter : optimized) {
    set_optimizer_slots(*parameter.optimizer, parameter.tensor, stored_slots(checkpoint, parameter));
  }
  if (with_groups) {
    for (const auto& [name, optimizer] : state.optimizers()) {
      set_optimizer_groups(*optimizer, blob_of(checkpoint, name + ".groups"));
    }
  }
  for (const auto& [name, resumable] : state.resumables()) resumable->load_state(blob_of(checkpoint, name));
}

std::string parameters_sha256(const TrainState& state) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  for (const auto& [name, tensor] : module_parameters(state)) {
    const at::Tensor bytes = tensor.detach().cpu().contiguous();
    EVP_DigestUpdate(context.get(), bytes.const_data_ptr(), bytes.nbytes());
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(context.get(), digest, &size);
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

}  // namespace lockstep
