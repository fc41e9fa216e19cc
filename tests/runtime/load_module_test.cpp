// SPDX-License-Identifier: Apache-2.0
#include "lockstep/runtime/load_module.hpp"

#include <gmock/gmock.h>
#include <torch/nn.h>

#include "lockstep/base/error.hpp"
#include "lockstep/checkpoint/writer.hpp"
#include "state_io.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;
using ::testing::UnorderedElementsAre;

struct Net : torch::nn::Module {
  explicit Net(std::int64_t classes)
      : backbone(register_module("backbone", torch::nn::Linear(4, 8))),
        norm(register_module("norm", torch::nn::BatchNorm1d(8))),
        head(register_module("head", torch::nn::Linear(8, classes))) {}
  torch::nn::Linear backbone;
  torch::nn::BatchNorm1d norm;
  torch::nn::Linear head;
};

class LoadModule : public ::testing::Test {
 protected:
  LoadModule() : saved(std::make_shared<Net>(10)) {
    const at::NoGradGuard no_grad;
    saved->norm->running_mean.fill_(0.5);
    TrainState state;
    state.add("model", saved);
    FlatState flat = flatten(state);
    CheckpointContents contents;
    contents.step = 3;
    contents.tensors = flat.tensors;
    path = write_checkpoint(folder.path(), contents);
  }
  const test::TemporaryDirectory folder;
  std::shared_ptr<Net> saved;
  std::filesystem::path path;
};

TEST_F(LoadModule, brings_parameters_and_buffers_of_any_layout) {
  Net net(10);
  net.backbone->weight.set_data(torch::zeros({4, 8}).t());  // not contiguous
  const LoadReport report = load_module(net, path, "model");
  EXPECT_THAT(report.loaded, SizeIs(9));
  for (const auto& item : saved->named_parameters()) {
    EXPECT_TRUE(net.named_parameters()[item.key()].equal(item.value())) << item.key();
  }
  for (const auto& item : saved->named_buffers()) {
    EXPECT_TRUE(net.named_buffers()[item.key()].equal(item.value())) << item.key();
  }
}

TEST_F(LoadModule, names_every_tensor_that_does_not_fit_and_changes_nothing) {
  Net net(3);
  const at::Tensor before = net.backbone->weight.detach().clone();
  EXPECT_THAT([&] { load_module(net, path, "model"); },
              ThrowsMessage<CheckpointError>(AllOf(HasSubstr("/model/head.weight"), HasSubstr("[10, 8]"),
                                                   HasSubstr("[3, 8]"), HasSubstr("/model/head.bias"))));
  EXPECT_TRUE(net.backbone->weight.equal(before));
}

TEST_F(LoadModule, a_part_of_the_weights_is_taken_by_pattern) {
  Net net(3);
  const LoadReport report = load_module(net, path, "model", {.include = {"/model/backbone.*"}});
  EXPECT_THAT(report.loaded, UnorderedElementsAre("/model/backbone.bias", "/model/backbone.weight"));
  EXPECT_TRUE(net.backbone->weight.equal(saved->backbone->weight));
}

TEST_F(LoadModule, another_head_is_left_alone_when_asked_for) {
  Net net(3);
  const LoadReport report = load_module(net, path, "model", {.mismatched = Strictness::report});
  EXPECT_THAT(report.mismatched, SizeIs(2));
  EXPECT_TRUE(net.backbone->weight.equal(saved->backbone->weight));
}

TEST_F(LoadModule, names_of_a_part_may_differ) {
  torch::nn::Sequential net(torch::nn::Linear(4, 8));
  load_module(*net, path, "model", {.rename = {{"/model/0.", "/model/backbone."}}, .unexpected = Strictness::report});
  EXPECT_TRUE(net->named_parameters()["0.weight"].equal(saved->backbone->weight));
}

}  // namespace
}  // namespace lockstep::testing
