// SPDX-License-Identifier: Apache-2.0
// Fits a line through points of y = 2x + 1: the smallest program that trains with an installed lockstep.
#include <torch/torch.h>

#include <lockstep/lockstep.hpp>
#include <vector>

struct Options {
  double lr = 0.5;
  void describe(lockstep::OptionList& list) { list.add("train.lr", lr, "learning rate of SGD"); }
};

void train(lockstep::Runtime& rt, const Options& options) {
  auto net = std::make_shared<torch::nn::LinearImpl>(1, 1);
  net->to(rt.device());
  lockstep::DistributedDataParallel model(rt, net);
  torch::optim::SGD sgd(net->parameters(), torch::optim::SGDOptions(options.lr));
  lockstep::TrainState state;
  state.add("model", net).add("optimizer", sgd);

  const std::vector<torch::Tensor> batches(100, torch::linspace(-1, 1, 32, rt.device()).unsqueeze(1));  // each [32, 1]
  for (auto& step : rt.steps(state, batches)) {
    sgd.zero_grad();
    for (auto& x : step.micro_batches()) {
      auto loss = torch::mse_loss(model.forward(x), 2 * x + 1);
      loss.backward();
      step.log("loss", loss);
    }
    sgd.step();
  }
}

int main(int argc, char** argv) { return lockstep::run<Options>(argc, argv, train); }
