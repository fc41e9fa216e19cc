// SPDX-License-Identifier: Apache-2.0
// Learns the steering angle from two frames of the front camera and the lidar, from three sources at once.
#include <torch/nn.h>
#include <torch/optim/adamw.h>

#include <lockstep/dataloader/source_options.hpp>
#include <lockstep/lockstep.hpp>

struct Options {
  double lr = 1e-3;
  std::string data = "examples/driving/sources.toml";
  std::int64_t threads = 2;
  void describe(lockstep::OptionList& list) {
    list.add("train.lr", lr, "learning rate of AdamW");
    list.add("data.path", data, "file of sources", lockstep::AtResume::may_change);
    list.add("data.threads", threads, "that read and decode, of each rank", lockstep::AtResume::may_change);
  }
};

class Net : public torch::nn::Module {
 public:
  // The steering angle in both frames: [samples, 2].
  at::Tensor forward(const lockstep::Batch& batch) {
    at::Tensor x = batch["camera"];                                          // [samples, 2, height, width, 3]
    x = x.permute({0, 1, 4, 2, 3}).flatten(1, 2).to(torch::kFloat) / 255;    // [samples, 6, height, width]
    x = torch::adaptive_avg_pool2d(camera_->forward(x), {4, 4}).flatten(1);  // [samples, 512]
    return head_->forward(torch::cat({x, nearest(batch)}, 1));
  }

 private:
  // How close the lidar sees something ahead, in 1/metres: [samples, 1].
  static at::Tensor nearest(const lockstep::Batch& batch) {
    const at::Tensor points = lockstep::padded(batch.column("lidar"), 1e3);  // [samples, rows, 4]
    return 1 / points.narrow(2, 0, 2).norm(2, {2}).amin(1, /*keepdim=*/true).clamp_min(1.0);
  }

  torch::nn::Sequential camera_{torch::nn::Conv2d(torch::nn::Conv2dOptions(6, 16, 5).stride(4)), torch::nn::ReLU(),
                                torch::nn::Conv2d(torch::nn::Conv2dOptions(16, 32, 3).stride(2)), torch::nn::ReLU()};
  torch::nn::Linear head_{513, 2};

 public:
  Net() {
    register_module("camera", camera_);
    register_module("head", head_);
  }
};

void train(lockstep::Runtime& rt, const Options& options) {
  auto net = std::make_shared<Net>();
  net->to(rt.device());
  lockstep::DistributedDataParallel model(rt, net);
  torch::optim::AdamW adamw(net->parameters(), torch::optim::AdamWOptions(options.lr));
  auto loader_options = rt.loader_options();
  loader_options.threads = static_cast<int>(options.threads);
  lockstep::DataLoader loader(lockstep::open_sources(options.data), loader_options);
  lockstep::TrainState state;
  state.add("model", net).add("optimizer", adamw).add("data", loader);

  for (auto& step : rt.steps(state, loader)) {
    adamw.zero_grad();
    for (auto& batch : step.micro_batches()) {
      auto loss = torch::mse_loss(model.forward(batch), batch.target);
      loss.backward();
      step.log("loss", loss);
    }
    adamw.step();
  }
}

int main(int argc, char** argv) { return lockstep::run<Options>(argc, argv, train); }
