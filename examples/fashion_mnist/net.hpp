// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn.h>

// Two convolutions and two linear layers: 28×28 grey images to ten classes.
struct Net : torch::nn::Module {
  Net()
      : conv1(register_module("conv1", torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 32, 3).padding(1)))),
        conv2(register_module("conv2", torch::nn::Conv2d(torch::nn::Conv2dOptions(32, 64, 3).padding(1)))),
        fc1(register_module("fc1", torch::nn::Linear(3136, 128))),
        fc2(register_module("fc2", torch::nn::Linear(128, 10))) {}

  torch::Tensor forward(torch::Tensor x) {               // [batch, 1, 28, 28]
    x = torch::max_pool2d(torch::relu(conv1(x)), 2);     // [batch, 32, 14, 14]
    x = torch::max_pool2d(torch::relu(conv2(x)), 2);     // [batch, 64, 7, 7]
    return fc2(torch::relu(fc1(torch::flatten(x, 1))));  // [batch, 10]
  }

  torch::nn::Conv2d conv1, conv2;
  torch::nn::Linear fc1, fc2;
};
