// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/dataloader/dataset.hpp"
#include "lockstep/runtime/options.hpp"

namespace lockstep::testing {

constexpr std::int64_t kProbeSamples = 23;  // no multiple of anything: the last step of an epoch is short
constexpr std::int64_t kProbeClasses = 10;

// 23 samples: random pixels as float32 [1, 8, 8], and a class.
[[nodiscard]] std::shared_ptr<const Dataset> probe_data();

// Everything whose bits could depend on who computes what beside what: convolution, BatchNorm (running statistics),
// an integer buffer, dropout (the random generator), an embedding, a parameter that only some micro-batches use,
// and one that none uses.
class ProbeNetImpl : public torch::nn::Module {
 public:
  ProbeNetImpl();
  at::Tensor forward(const Batch& batch);  // scores: [samples, classes]

 private:
  torch::nn::Conv2d conv_;
  torch::nn::BatchNorm2d norm_;
  torch::nn::Embedding embedding_;
  torch::nn::Linear fc1_;
  torch::nn::Dropout dropout_;
  torch::nn::Linear fc2_;
  at::Tensor gate_;    // used where the first sample's class is even
  at::Tensor unused_;  // used nowhere
  at::Tensor seen_;    // a buffer of whole numbers that every micro-batch leaves differently
};
TORCH_MODULE(ProbeNet);

// The net with the same weights at every call.
[[nodiscard]] ProbeNet make_probe_net();
[[nodiscard]] at::Tensor loss_of(const at::Tensor& scores, const Batch& batch);

// The bits of named things, in the order in which a run met them; no value: undefined.
struct NamedBits {
  std::string name;
  std::optional<std::uint32_t> bits;
};
using Fingerprint = std::vector<NamedBits>;

void add_bits(Fingerprint& fingerprint, const std::string& name, const at::Tensor& tensor);
// What the first thing is that differs; empty: nothing.
[[nodiscard]] std::string first_difference(const Fingerprint& actual, const Fingerprint& expected);

// Collective. Trains the probe net for `options.max_steps` steps with SGD and momentum: the bits of all gradients,
// parameters and buffers after every step.
[[nodiscard]] Fingerprint run_probe(Communicator& world, const RuntimeOptions& options);

}  // namespace lockstep::testing
