// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>

#include "models.hpp"

namespace lockstep::bench {
namespace {

constexpr std::int64_t kWidth = 768, kHeads = 12, kLayers = 12;

class BlockImpl : public torch::nn::Module {
 public:
  BlockImpl()
      : norm1_(register_module("norm1", torch::nn::LayerNorm(torch::nn::LayerNormOptions({kWidth})))),
        attention_(register_module("attention", torch::nn::Linear(kWidth, 3 * kWidth))),
        project_(register_module("project", torch::nn::Linear(kWidth, kWidth))),
        norm2_(register_module("norm2", torch::nn::LayerNorm(torch::nn::LayerNormOptions({kWidth})))),
        widen_(register_module("widen", torch::nn::Linear(kWidth, 4 * kWidth))),
        narrow_(register_module("narrow", torch::nn::Linear(4 * kWidth, kWidth))) {}

  at::Tensor forward(at::Tensor x) {  // [batch, time, width]
    x = x + attend(norm1_(x));
    return x + narrow_(at::gelu(widen_(norm2_(x)), "tanh"));
  }

 private:
  at::Tensor attend(const at::Tensor& x) {
    const std::int64_t batch = x.size(0), time = x.size(1);
    const auto parts = attention_(x).view({batch, time, 3, kHeads, kWidth / kHeads}).permute({2, 0, 3, 1, 4});
    const auto out = at::scaled_dot_product_attention(parts[0], parts[1], parts[2], {}, 0.0, /*is_causal=*/true);
    return project_(out.transpose(1, 2).reshape({batch, time, kWidth}));
  }
  torch::nn::LayerNorm norm1_;
  torch::nn::Linear attention_, project_;
  torch::nn::LayerNorm norm2_;
  torch::nn::Linear widen_, narrow_;
};
TORCH_MODULE(Block);

}  // namespace

Gpt2Impl::Gpt2Impl()
    : tokens_(register_module("tokens", torch::nn::Embedding(kGpt2Vocabulary, kWidth))),
      positions_(register_module("positions", torch::nn::Embedding(kGpt2Context, kWidth))),
      blocks_(register_module("blocks", torch::nn::ModuleList())),
      norm_(register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({kWidth})))) {
  for (std::int64_t i = 0; i < kLayers; ++i) blocks_->push_back(Block());
  const torch::NoGradGuard no_grad;
  tokens_->weight.mul_(0.02);
  positions_->weight.mul_(0.02);
}

at::Tensor Gpt2Impl::forward(const at::Tensor& tokens) {
  at::Tensor x = tokens_(tokens) + positions_(at::arange(tokens.size(1), tokens.options()));
  for (const auto& block : *blocks_) x = block->as<BlockImpl>()->forward(x);
  return at::linear(norm_(x), tokens_->weight);
}

}  // namespace lockstep::bench
