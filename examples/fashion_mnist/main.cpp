// SPDX-License-Identifier: Apache-2.0
#include <torch/optim/sgd.h>

#include <lockstep/lockstep.hpp>

#include "net.hpp"
#include "prepare_data.hpp"

struct Options {
  double lr = 0.05;
  std::string data = "data/fashion_mnist";
  std::string source = "/usr/share/datasets/fashion-mnist";
  void describe(lockstep::OptionList& list) {
    list.add("train.lr", lr, "learning rate of SGD");
    list.add("data.path", data, "folder of shards: train/ and test/", lockstep::AtResume::may_change);
    list.add("data.source", source, "folder of IDX files to make shards of", lockstep::AtResume::may_change);
  }
};

double accuracy(lockstep::Runtime& rt, Net& net, const std::string& folder) {
  lockstep::DataLoader loader(lockstep::open_dataset(folder), rt.evaluation_options());
  const torch::NoGradGuard no_grad;
  net.eval();
  auto correct = torch::zeros({}, torch::dtype(torch::kLong).device(rt.device()));
  for (std::int64_t step = 0; step < loader.steps_per_epoch(); ++step) {
    for (const auto& part : loader.next().micro_batches) {
      if (part.samples == 0) continue;
      const auto scores = net.forward(part.batch.data.to(rt.device()));  // only rt.steps moves batches by itself
      correct += (scores.argmax(1) == part.batch.target.to(rt.device())).sum();
    }
  }
  net.train();
  correct = correct.cpu();
  rt.world().all_reduce(correct).wait();
  return correct.item<double>() / static_cast<double>(loader.epoch_samples());
}

void train(lockstep::Runtime& rt, const Options& options) {
  prepare_data(rt, options.data, options.source);
  auto net = std::make_shared<Net>();
  net->to(rt.device());
  lockstep::DistributedDataParallel model(rt, net);  // rank 0's weights go to every rank
  torch::optim::SGD sgd(net->parameters(), torch::optim::SGDOptions(options.lr).momentum(0.9));
  lockstep::DataLoader loader(lockstep::open_dataset(options.data + "/train"), rt.loader_options());
  lockstep::TrainState state;
  state.add("model", net).add("optimizer", sgd).add("data", loader);

  for (auto& step : rt.steps(state, loader)) {  // resumes, saves, logs, stops at a safe step
    sgd.zero_grad();
    for (auto& batch : step.micro_batches()) {  // those that this rank owns; often one
      auto loss = torch::cross_entropy_loss(model.forward(batch.data), batch.target);
      loss.backward();  // gradients are summed bucket by bucket while backward runs
      step.log("loss", loss);
    }
    sgd.step();
  }
  rt.report("accuracy", accuracy(rt, *net, options.data + "/test"));
}

int main(int argc, char** argv) { return lockstep::run<Options>(argc, argv, train); }
