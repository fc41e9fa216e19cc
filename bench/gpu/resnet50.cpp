// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>

#include "models.hpp"

namespace lockstep::bench {
namespace {

using torch::nn::BatchNorm2d;
using torch::nn::Conv2d;
using torch::nn::Functional;
using torch::nn::Sequential;

Conv2d convolution(std::int64_t in, std::int64_t out, std::int64_t size, std::int64_t stride) {
  return Conv2d(torch::nn::Conv2dOptions(in, out, size).stride(stride).padding(size / 2).bias(false));
}

class BottleneckImpl : public torch::nn::Module {
 public:
  BottleneckImpl(std::int64_t in, std::int64_t width, std::int64_t stride)
      : branch_(register_module(
            "branch", Sequential(convolution(in, width, 1, 1), BatchNorm2d(width), Functional(at::relu),
                                 convolution(width, width, 3, stride), BatchNorm2d(width), Functional(at::relu),
                                 convolution(width, 4 * width, 1, 1), BatchNorm2d(4 * width)))) {
    if (stride != 1 || in != 4 * width) {
      shortcut_ =
          register_module("shortcut", Sequential(convolution(in, 4 * width, 1, stride), BatchNorm2d(4 * width)));
    }
  }
  at::Tensor forward(const at::Tensor& x) {
    return at::relu(branch_->forward(x) + (shortcut_.is_empty() ? x : shortcut_->forward(x)));
  }

 private:
  Sequential branch_, shortcut_{nullptr};
};
TORCH_MODULE(Bottleneck);

}  // namespace

ResNet50Impl::ResNet50Impl()
    : stem_(register_module("stem",
                            Sequential(Conv2d(torch::nn::Conv2dOptions(3, 64, 7).stride(2).padding(3).bias(false)),
                                       BatchNorm2d(64), Functional(at::relu)))),
      stages_(register_module("stages", Sequential())),
      classify_(register_module("classify", torch::nn::Linear(2048, 1000))) {
  std::int64_t in = 64, width = 64;
  for (const int blocks : {3, 4, 6, 3}) {
    for (int i = 0; i < blocks; ++i) {
      stages_->push_back(Bottleneck(in, width, i == 0 && width > 64 ? 2 : 1));
      in = 4 * width;
    }
    width *= 2;
  }
}

at::Tensor ResNet50Impl::forward(const at::Tensor& images) {
  const at::Tensor x = at::max_pool2d(stem_->forward(images), 3, 2, 1);
  return classify_(stages_->forward(x).mean({2, 3}));
}

}  // namespace lockstep::bench
