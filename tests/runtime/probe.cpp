// SPDX-License-Identifier: Apache-2.0
#include "runtime/probe.hpp"

#include <torch/optim.h>

#include <random>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/dataloader/shard_writer.hpp"
#include "lockstep/lockstep.hpp"
#include "runtime/job.hpp"

namespace lockstep::testing {
namespace {

namespace nn = torch::nn;
namespace functional = torch::nn::functional;

void write_probe_data(const std::filesystem::path& folder) {
  std::mt19937 generator(11);
  std::vector<std::uint8_t> pixels(kProbeSamples * 64);
  for (std::uint8_t& pixel : pixels) pixel = static_cast<std::uint8_t>(generator() & 255U);
  std::vector<std::uint8_t> classes(kProbeSamples);
  for (std::uint8_t& one : classes) one = static_cast<std::uint8_t>(generator() % kProbeClasses);
  const std::vector<FieldColumn> columns{
      {{.name = "data", .dtype = DType::uint8, .shape = {1, 8, 8}, .scale = 1.0 / 128, .offset = -1.0},
       std::as_bytes(std::span(pixels))},
      {{.name = "target", .dtype = DType::uint8, .shape = {}, .delivered = DType::int64},
       std::as_bytes(std::span(classes))},
  };
  write_shards(folder, kProbeSamples, columns, 2);
}

void add_step(Fingerprint& fingerprint, std::int64_t step, const nn::Module& net) {
  const std::string when = "step " + std::to_string(step) + ": ";
  for (const auto& item : net.named_parameters()) {
    add_bits(fingerprint, when + "gradient of " + item.key(), item.value().grad());
  }
  // Drawn by the user's own code outside of the micro-batches.
  add_bits(fingerprint, when + "random numbers", at::rand({2}));
}

void add_state(Fingerprint& fingerprint, std::int64_t step, const nn::Module& net) {
  const std::string after = "after step " + std::to_string(step) + ": ";
  for (const auto& item : net.named_parameters()) add_bits(fingerprint, after + item.key(), item.value());
  for (const auto& item : net.named_buffers()) add_bits(fingerprint, after + item.key(), item.value());
}

}  // namespace

std::shared_ptr<const Dataset> probe_data() {
  static const test::TemporaryDirectory folder;
  static const auto data = [] {
    write_probe_data(folder / "data");
    return open_dataset(folder / "data");
  }();
  return data;
}

ProbeNetImpl::ProbeNetImpl()
    : conv_(nn::Conv2dOptions(1, 4, 3).padding(1)),
      norm_(4),
      embedding_(kProbeClasses, 8),
      fc1_(72, 320),
      dropout_(0.4),
      fc2_(320, kProbeClasses) {
  register_module("conv", conv_);
  register_module("norm", norm_);
  register_module("embedding", embedding_);
  register_module("fc1", fc1_);  // 92 KB: with buckets of 64 KiB the gradients before it are a bucket of their own
  register_module("dropout", dropout_);
  register_module("fc2", fc2_);
  gate_ = register_parameter("gate", at::ones({kProbeClasses}));
  seen_ = register_buffer("seen", at::zeros({}, at::kLong));
  unused_ = register_parameter("unused", at::ones({3}));
}

at::Tensor ProbeNetImpl::forward(const Batch& batch) {
  seen_ += batch.target.sum() + 1;
  at::Tensor x = at::max_pool2d(at::relu(norm_->forward(conv_->forward(batch.data))), {2, 2}).flatten(1);  // [n, 64]
  x = at::cat({x, embedding_->forward(batch.target)}, 1);                                                  // [n, 72]
  x = fc2_->forward(dropout_->forward(at::relu(fc1_->forward(x))));
  return batch.target[0].item<std::int64_t>() % 2 == 0 ? x * gate_ : x;
}

ProbeNet make_probe_net() {
  at::manual_seed(5);
  return ProbeNet();
}

at::Tensor loss_of(const at::Tensor& scores, const Batch& batch) {
  return functional::cross_entropy(scores, batch.target);
}

void add_bits(Fingerprint& fingerprint, const std::string& name, const at::Tensor& tensor) {
  std::optional<std::uint32_t> bits;
  if (tensor.defined()) {
    const at::Tensor plain = tensor.detach().contiguous();
    bits = crc32c({static_cast<const std::byte*>(plain.const_data_ptr()), plain.nbytes()});
  }
  fingerprint.push_back({name, bits});
}

std::string first_difference(const Fingerprint& actual, const Fingerprint& expected) {
  for (std::size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    if (actual[i].name != expected[i].name) return actual[i].name + " in place of " + expected[i].name;
    if (actual[i].bits != expected[i].bits) return actual[i].name;
  }
  if (actual.size() == expected.size()) return "";
  return std::to_string(actual.size()) + " values in place of " + std::to_string(expected.size());
}

Fingerprint run_probe(Communicator& world, const RuntimeOptions& options) {
  Job job(world, options);
  Runtime& rt = job.runtime();
  const ProbeNet net = make_probe_net();
  DistributedDataParallel model(rt, net.ptr());
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
  DataLoader loader(probe_data(), rt.loader_options());
  TrainState state;
  state.add("model", net.ptr()).add("optimizer", optimizer).add("loader", loader);
  Fingerprint fingerprint;
  for (auto& step : rt.steps(state, loader)) {
    optimizer.zero_grad();
    for (const Batch& batch : step.micro_batches()) loss_of(model.forward(batch), batch).backward();
    add_step(fingerprint, step.index(), *net);
    optimizer.step();
    add_state(fingerprint, step.index(), *net);
  }
  rt.close();
  return fingerprint;
}

}  // namespace lockstep::testing
