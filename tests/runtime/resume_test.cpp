// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <torch/optim.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "lockstep/base/crc32c.hpp"
#include "lockstep/dataloader/records.hpp"
#include "lockstep/lockstep.hpp"
#include "runtime/job.hpp"
#include "runtime/probe.hpp"
#include "runtime/tiny_optimizer.hpp"
#include "state_io.hpp"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
namespace optim = torch::optim;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using MakeOptimizer = std::unique_ptr<optim::Optimizer> (*)(const std::vector<at::Tensor>& parameters);

std::unique_ptr<optim::Optimizer> make_sgd(const std::vector<at::Tensor>& parameters) {
  return std::make_unique<optim::SGD>(parameters, optim::SGDOptions(0.05).momentum(0.9));
}

// 23 samples in steps of 10: an epoch has 3 steps, the last of them short.
RuntimeOptions options_in(const fs::path& folder, std::int64_t max_steps) {
  RuntimeOptions options;
  options.run_dir = folder.string();
  options.seed = 1;
  options.max_steps = max_steps;
  options.epochs = 100;
  options.global_batch = 10;
  options.micro_batches = 3;
  options.checkpoint_every_steps = 0;
  options.log_every_steps = 1;
  return options;
}

// Everything that a checkpoint would hold, so that nothing which training depends on can be lost unseen.
Fingerprint bits_of(const TrainState& state) {
  Fingerprint fingerprint;
  const FlatState flat = flatten(state);
  for (std::size_t i = 0; i < flat.tensors.size(); ++i) add_bits(fingerprint, flat.tensors[i].name, flat.keep_alive[i]);
  for (const auto& [name, blob] : flat.blobs) {
    fingerprint.push_back({name + " = " + blob, crc32c(std::as_bytes(std::span(blob)))});
  }
  return fingerprint;
}

// Starts the program (again) in its run folder and trains to the end; the state of rank 0 then. A net that starts anew
// has weights which only a new run may keep.
Fingerprint train(int world_size, const RuntimeOptions& options, MakeOptimizer make = make_sgd,
                  const std::shared_ptr<const Dataset>& data = probe_data()) {
  Fingerprint final_state;
  const bool new_run = !fs::exists(fs::path(options.run_dir) / "run.json");
  run_ranks_in_turn(world_size, [&](Communicator& world) {
    Job job(world, options);
    Runtime& rt = job.runtime();
    const ProbeNet net = make_probe_net();
    if (!new_run) {
      const at::NoGradGuard no_grad;
      for (at::Tensor& parameter : net->parameters()) parameter.fill_(0.1);
    }
    at::Tensor weight = net->named_parameters()["conv.weight"];
    weight.set_data(weight.contiguous(at::MemoryFormat::ChannelsLast));
    DistributedDataParallel model(rt, net.ptr());
    const auto optimizer = make(net->parameters());
    LoaderOptions loader_options = rt.loader_options();
    loader_options.damaged_budget = 2;
    DataLoader loader(data, loader_options);
    TrainState state;
    state.add("model", net.ptr()).add("optimizer", *optimizer).add("loader", loader);
    for (auto& step : rt.steps(state, loader)) {
      optimizer->zero_grad();
      for (const Batch& batch : step.micro_batches()) {
        const at::Tensor loss = loss_of(model.forward(batch), batch);
        loss.backward();
        step.log("loss", loss);
      }
      optimizer->step();
      for (auto& group : optimizer->param_groups()) group.options().set_lr(group.options().get_lr() * 0.9);
    }
    if (rt.rank() == 0) final_state = bits_of(state);
    rt.close();
  });
  return final_state;
}

struct OptimizerCase {
  const char* name;
  MakeOptimizer make;
};

class ResumedOptimizer : public ::testing::TestWithParam<OptimizerCase> {};

TEST_P(ResumedOptimizer, goes_on_with_the_bits_of_a_straight_run) {
  const test::TemporaryDirectory folder;
  const Fingerprint straight = train(1, options_in(folder / "straight", 10), GetParam().make);
  train(1, options_in(folder / "resumed", 5), GetParam().make);
  EXPECT_EQ(first_difference(train(2, options_in(folder / "resumed", 10), GetParam().make), straight), "");
}

template <class Optimizer, class Options>
std::unique_ptr<optim::Optimizer> make_with(const std::vector<at::Tensor>& parameters, Options options) {
  return std::make_unique<Optimizer>(parameters, options);
}

const OptimizerCase kOptimizers[] = {
    {"sgd", [](const auto& p) { return make_with<optim::SGD>(p, optim::SGDOptions(0.05)); }},
    {"sgd_nesterov",
     [](const auto& p) {
       return make_with<optim::SGD>(p, optim::SGDOptions(0.05).momentum(0.9).nesterov(true).weight_decay(0.01));
     }},
    {"adam", [](const auto& p) { return make_with<optim::Adam>(p, optim::AdamOptions(0.01)); }},
    {"adam_amsgrad", [](const auto& p) { return make_with<optim::Adam>(p, optim::AdamOptions(0.01).amsgrad(true)); }},
    {"adamw", [](const auto& p) { return make_with<optim::AdamW>(p, optim::AdamWOptions(0.01)); }},
    {"rmsprop", [](const auto& p) { return make_with<optim::RMSprop>(p, optim::RMSpropOptions(0.01)); }},
    {"rmsprop_centered",
     [](const auto& p) {
       return make_with<optim::RMSprop>(p, optim::RMSpropOptions(0.01).momentum(0.9).centered(true));
     }},
    {"adagrad", [](const auto& p) { return make_with<optim::Adagrad>(p, optim::AdagradOptions(0.05).lr_decay(0.1)); }},
};

INSTANTIATE_TEST_SUITE_P(Kinds, ResumedOptimizer, ::testing::ValuesIn(kOptimizers),
                         [](const auto& instance) { return instance.param.name; });

TEST(Resume, goes_on_from_every_checkpoint_at_every_world_size) {
  const test::TemporaryDirectory folder;
  RuntimeOptions options = options_in(folder / "straight", 7);
  options.checkpoint_every_steps = 1;
  const Fingerprint straight = train(1, options);
  for (int step = 1; step < 7; ++step) {
    const fs::path copy = folder / ("from-" + std::to_string(step));
    fs::copy(folder / "straight", copy, fs::copy_options::recursive);
    for (int later = step + 1; later <= 7; ++later) {
      ASSERT_GT(fs::remove_all(copy / "checkpoints" / ("step-0000000" + std::to_string(later))), 0U);
    }
    options.run_dir = copy.string();
    const int world_size = 1 + step % 3;
    EXPECT_EQ(first_difference(train(world_size, options), straight), "")
        << "from step " << step << " on " << world_size << " ranks";
  }
}

// Probe data of which two samples cannot be read.
class DamagedData final : public Dataset {
 public:
  [[nodiscard]] std::int64_t samples() const noexcept override { return whole_->samples(); }
  [[nodiscard]] std::string fingerprint() const override { return whole_->fingerprint(); }
  [[nodiscard]] const std::vector<FieldInfo>& fields() const noexcept override { return whole_->fields(); }
  void read(const SampleKey& key, SampleSlot& slot) const override {
    if (key.sample == 4 || key.sample == 19) throw DamagedSample({.what = "", .why = "a bit flipped"});
    whole_->read(key, slot);
  }

 private:
  const std::shared_ptr<const Dataset> whole_ = probe_data();
};

TEST(DamagedSamples, are_in_every_ranks_state_and_the_bits_are_the_same_at_every_world_size) {
  // Each is found by one rank alone, before the checkpoint of step 2 or after it.
  const test::TemporaryDirectory folder;
  const auto data = std::make_shared<DamagedData>();
  const Fingerprint alone = train(1, options_in(folder / "run-1", 6), make_sgd, data);
  EXPECT_TRUE(std::ranges::any_of(alone, [](const NamedBits& entry) {
    return entry.name.find(R"({"sample":4,"source":"","why":"sample 4: a bit flipped"},{"sample":19)") !=
           std::string::npos;
  }));
  for (const int world_size : {2, 3}) {
    const auto run = folder / ("run-" + std::to_string(world_size));
    train(world_size, options_in(run, 2), make_sgd, data);
    EXPECT_EQ(first_difference(train(1, options_in(run, 6), make_sgd, data), alone), "")
        << world_size << " ranks, then one";
  }
}

TEST(Resume, cuts_the_metrics_at_the_step_that_it_goes_on_from) {
  const test::TemporaryDirectory folder;
  RuntimeOptions options = options_in(folder / "run", 6);
  options.checkpoint_every_steps = 2;
  train(1, options);
  for (const char* const later : {"step-00000004", "step-00000006"}) fs::remove_all(folder / "run/checkpoints" / later);
  train(1, options);
  std::vector<std::int64_t> steps;
  std::ifstream file(folder / "run/metrics.jsonl");
  for (std::string line; std::getline(file, line);) steps.push_back(nlohmann::json::parse(line).at("step"));
  EXPECT_THAT(steps, ::testing::ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(Resume, refuses_a_changed_option_with_both_values) {
  const test::TemporaryDirectory folder;
  train(1, options_in(folder / "run", 2));
  RuntimeOptions changed = options_in(folder / "run", 4);
  changed.seed = 2;
  const auto again = [&] { train(2, changed); };
  EXPECT_THAT(again, ThrowsMessage<Error>(AllOf(HasSubstr("seed: 1 -> 2"), HasSubstr("resume.allow_changes=true"))));
}

TEST(Resume, goes_on_with_a_changed_option_where_that_is_allowed) {
  const test::TemporaryDirectory folder;
  train(1, options_in(folder / "run", 2));
  RuntimeOptions changed = options_in(folder / "run", 4);
  changed.micro_batches = 2;
  changed.allow_changes = true;
  train(1, changed);
  const auto record = nlohmann::json::parse(std::ifstream(folder / "run/run.json"));
  EXPECT_EQ(record.at("starts").at(1).at("from_step"), 2);
  EXPECT_EQ(record.at("starts").at(1).at("changes"), nlohmann::json{"train.micro_batches: 3 -> 2"});
  EXPECT_EQ(record.at("final").at("step"), 4);
}

TEST(Resume, keeps_M_when_started_on_fewer_ranks) {
  const test::TemporaryDirectory folder;
  RuntimeOptions options = options_in(folder / "run", 2);
  options.micro_batches = 0;
  train(3, options);
  options.max_steps = 4;
  train(1, options);
  const auto record = nlohmann::json::parse(std::ifstream(folder / "run/run.json"));
  EXPECT_EQ(record.at("determinism").at("micro_batches"), 3);
}

// A run in `folder` with another program: `net`, and an optimizer that `make` makes.
void resume_with(const fs::path& folder, int world_size, const std::shared_ptr<torch::nn::Module>& net,
                 MakeOptimizer make) {
  run_ranks_in_turn(world_size, [&](Communicator& world) {
    Job job(world, options_in(folder, 4));
    const auto optimizer = make(net->parameters());
    DataLoader loader(probe_data(), job.runtime().loader_options());
    TrainState state;
    state.add("model", net).add("optimizer", *optimizer).add("loader", loader);
    for (auto& step : job.runtime().steps(state, loader)) {
      for (const Batch& batch : step.micro_batches()) static_cast<void>(batch);
    }
  });
}

TEST(Resume, refuses_another_net_naming_the_tensor) {
  const test::TemporaryDirectory folder;
  train(1, options_in(folder / "run", 2));
  const auto other_net = [] {
    ProbeNet net = make_probe_net();
    net->replace_module("fc2", torch::nn::Linear(320, 11));
    return net.ptr();
  };
  EXPECT_THAT([&] { resume_with(folder / "run", 2, other_net(), make_sgd); },
              ThrowsMessage<Error>(HasSubstr("/model/fc2.")));
  const auto larger_net = [] {
    ProbeNet net = make_probe_net();
    net->register_parameter("extra", at::ones({2}));
    return net.ptr();
  };
  EXPECT_THAT([&] { resume_with(folder / "run", 1, larger_net(), make_sgd); },
              ThrowsMessage<Error>(HasSubstr("/model/extra")));
}

TEST(Resume, refuses_another_kind_of_optimizer) {
  const test::TemporaryDirectory folder;
  train(1, options_in(folder / "run", 2));
  EXPECT_THAT([&] { resume_with(folder / "run", 1, make_probe_net().ptr(), kOptimizers[2].make); },
              ThrowsMessage<Error>(HasSubstr("Adam")));
}

TEST(Save, refuses_an_optimizer_that_it_does_not_know_on_every_rank) {
  const test::TemporaryDirectory folder;
  const MakeOptimizer make = [](const auto& parameters) -> std::unique_ptr<optim::Optimizer> {
    return std::make_unique<TinyOptimizer>(parameters);
  };
  EXPECT_THAT([&] { train(2, options_in(folder / "run", 1), make); }, ThrowsMessage<Error>(HasSubstr("TinyOptimizer")));
}

TEST(RunFolder, keeps_a_second_job_out) {
  const test::TemporaryDirectory folder;
  run_ranks_in_turn(1, [&](Communicator& world) {
    Job first(world, options_in(folder / "run", 1));
    EXPECT_THAT([&] { Job(world, options_in(folder / "run", 1)); },
                ThrowsMessage<Error>(AllOf(HasSubstr("another job is using it"), HasSubstr("run.dir=FOLDER"))));
  });
}

}  // namespace
}  // namespace lockstep::testing
