// SPDX-License-Identifier: Apache-2.0
// A world-1 runtime beside a bare loop of LibTorch: the same model, data, optimizer and bf16 autocast, in turns; time
// of a step and peak memory. usage: bench_gpu_training gpt2|resnet50
#include <ATen/autocast_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <torch/optim.h>

#include <filesystem>
#include <functional>

#include "gpu_bench.hpp"
#include "lockstep/comm/local.hpp"
#include "lockstep/lockstep.hpp"
#include "models.hpp"

namespace lockstep::bench {
namespace {

constexpr int kWarmUp = 5, kSteps = 20, kRounds = 5;

struct Sample {
  at::Tensor data, target;
};

// A model of either shape, as what the loops need of it.
struct Subject {
  std::function<std::shared_ptr<torch::nn::Module>()> make;
  std::function<at::Tensor(torch::nn::Module&, const Sample&)> loss;
  std::function<Sample()> sample;
  std::int64_t samples = 0;  // of a step
};

Subject gpt2(c10::Device device) {
  constexpr std::int64_t kBatch = 8;
  return {
      .make =
          [device] {
            auto model = std::make_shared<Gpt2Impl>();
            model->to(device);
            return model;
          },
      .loss =
          [](torch::nn::Module& model, const Sample& sample) {
            const at::Tensor scores = model.as<Gpt2Impl>()->forward(sample.data);
            return at::cross_entropy_loss(scores.flatten(0, 1), sample.target.flatten());
          },
      .sample =
          [device] {
            const auto tokens = at::randint(50257, {kBatch, kGpt2Context + 1}, at::TensorOptions().dtype(at::kLong));
            return Sample{tokens.narrow(1, 0, kGpt2Context).contiguous().to(device),
                          tokens.narrow(1, 1, kGpt2Context).contiguous().to(device)};
          },
      .samples = kBatch};
}

Subject resnet50(c10::Device device) {
  constexpr std::int64_t kBatch = 64;
  return {.make =
              [device] {
                auto model = std::make_shared<ResNet50Impl>();
                model->to(device);
                return model;
              },
          .loss =
              [](torch::nn::Module& model, const Sample& sample) {
                return at::cross_entropy_loss(model.as<ResNet50Impl>()->forward(sample.data), sample.target);
              },
          .sample =
              [device] {
                return Sample{at::randn({kBatch, 3, 224, 224}).to(device),
                              at::randint(1000, {kBatch}, at::TensorOptions().dtype(at::kLong)).to(device)};
              },
          .samples = kBatch};
}

class Bf16 {
 public:
  explicit Bf16(c10::DeviceType type) : type_(type) {
    at::autocast::set_autocast_enabled(type_, true);
    at::autocast::set_autocast_dtype(type_, at::kBFloat16);
    at::autocast::increment_nesting();
  }
  Bf16(const Bf16&) = delete;
  Bf16& operator=(const Bf16&) = delete;
  ~Bf16() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(type_, false);
  }

 private:
  c10::DeviceType type_;
};

at::Tensor autocast_loss(const Subject& subject, torch::nn::Module& model, const Sample& sample, c10::Device device) {
  const Bf16 autocast(device.type());
  return subject.loss(model, sample);
}

struct Measured {
  double step_seconds = 0;
  double peak_bytes = 0;
};

// Counts steps: the time between the end of the warm-up and the last step, and the peak of the whole loop.
class Meter {
 public:
  explicit Meter(c10::Device device) : device_(device), allocator_(*c10::getDeviceAllocator(device.type())) {
    wait_for(device);
    allocator_.emptyCache();
    allocator_.resetPeakStats(device.index());
  }
  void before_step(int step) {
    if (step != kWarmUp) return;
    wait_for(device_);
    start_ = Clock::now();
  }
  [[nodiscard]] Measured end() {
    wait_for(device_);
    const auto stats = allocator_.getDeviceStats(device_.index());
    return {seconds_since(start_) / kSteps, static_cast<double>(stats.allocated_bytes[0].peak)};
  }

 private:
  c10::Device device_;
  c10::DeviceAllocator& allocator_;
  Clock::time_point start_;
};

Measured run_bare(const Subject& subject, c10::Device device) {
  Meter meter(device);
  const auto model = subject.make();
  torch::optim::AdamW optimizer(model->parameters(), torch::optim::AdamWOptions(1e-4));
  const Sample sample = subject.sample();
  for (int step = 0; step < kWarmUp + kSteps; ++step) {
    meter.before_step(step);
    optimizer.zero_grad();
    autocast_loss(subject, *model, sample, device).backward();
    optimizer.step();
  }
  return meter.end();
}

class TemporaryRun {
 public:
  TemporaryRun() : path_(std::filesystem::temp_directory_path() / ("lockstep-bench-" + std::to_string(getpid()))) {}
  TemporaryRun(const TemporaryRun&) = delete;
  TemporaryRun& operator=(const TemporaryRun&) = delete;
  ~TemporaryRun() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

Measured run_lockstep(Communicator& world, const Subject& subject, c10::Device device) {
  const TemporaryRun folder;
  RuntimeOptions options;
  options.run_dir = folder.path();
  options.device = "cuda";
  options.max_steps = kWarmUp + kSteps + 1;  // left before its end, whose checkpoint takes seconds
  options.global_batch = subject.samples;
  options.checkpoint_every_steps = 0;
  options.log_every_steps = 1000;
  OptionList list;
  options.describe(list);
  Meter meter(device);
  Runtime runtime(world.duplicate("world"), options, list);
  const auto model = subject.make();
  const GradientReducer reducer(runtime, model);
  torch::optim::AdamW optimizer(model->parameters(), torch::optim::AdamWOptions(1e-4));
  std::vector<Sample> samples{subject.sample()};
  TrainState state;
  state.add("model", model).add("optimizer", optimizer);
  int number = 0;
  for (auto& step : runtime.steps(state, samples)) {
    if (number == kWarmUp + kSteps) break;
    meter.before_step(number++);
    optimizer.zero_grad();
    for (auto& sample : step.micro_batches()) autocast_loss(subject, *model, sample, device).backward();
    optimizer.step();
  }
  return meter.end();
}

void measure(Communicator& world, const std::string& shape) {
  const auto gpu = open_gpu("training");
  if (!gpu) return;
  const c10::Device device = device_of(*gpu);
  const Subject subject = shape == "gpt2" ? gpt2(device) : resnet50(device);
  for (int round = 0; round < kRounds; ++round) {
    const bool bare_first = round % 2 == 0;
    Measured bare, ours;
    if (bare_first) bare = run_bare(subject, device);
    ours = run_lockstep(world, subject, device);
    if (!bare_first) bare = run_bare(subject, device);
    print({{"bench", "training"},
           {"gpu", gpu->name()},
           {"shape", shape},
           {"round", round},
           {"bare_ms", bare.step_seconds * 1e3},
           {"lockstep_ms", ours.step_seconds * 1e3},
           {"time_added", ours.step_seconds / bare.step_seconds - 1},
           {"bare_mib", bare.peak_bytes / (1 << 20)},
           {"lockstep_mib", ours.peak_bytes / (1 << 20)},
           {"memory_added", ours.peak_bytes / bare.peak_bytes - 1}});
  }
}

}  // namespace
}  // namespace lockstep::bench

int main(int argc, char** argv) {
  const std::string shape = argc == 2 ? argv[1] : "";
  if (shape != "gpt2" && shape != "resnet50") {
    std::fprintf(stderr, "usage: bench_gpu_training gpt2|resnet50\n");
    return 2;
  }
  lockstep::run_local_ranks(1, [&](lockstep::Communicator& world) { lockstep::bench::measure(world, shape); });
}
