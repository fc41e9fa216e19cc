// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn.h>

// Shapes that others publish numbers for, in plain LibTorch.
namespace lockstep::bench {

// GPT-2 124M: 12 layers of 12 heads, 768 wide, context 1024; the vocabulary is padded to 50304.
class Gpt2Impl : public torch::nn::Module {
 public:
  Gpt2Impl();
  at::Tensor forward(const at::Tensor& tokens);  // [batch, time] int64 → [batch, time, 50304]

 private:
  torch::nn::Embedding tokens_, positions_;
  torch::nn::ModuleList blocks_;
  torch::nn::LayerNorm norm_;
};
TORCH_MODULE(Gpt2);
inline constexpr std::int64_t kGpt2Vocabulary = 50304, kGpt2Context = 1024;

class ResNet50Impl : public torch::nn::Module {
 public:
  ResNet50Impl();
  at::Tensor forward(const at::Tensor& images);  // [batch, 3, 224, 224] → [batch, 1000]

 private:
  torch::nn::Sequential stem_, stages_;
  torch::nn::Linear classify_;
};
TORCH_MODULE(ResNet50);

}  // namespace lockstep::bench
