// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "gpu/device_cases.hpp"
#include "gpu/gpu_ranks.hpp"
#include "support/rank_world.hpp"

namespace lockstep::testing {
namespace {

class StagedRanks : public GpuRanks, public ::testing::WithParamInterface<std::string> {
 protected:
  void SetUp() override {
    GpuRanks::SetUp();
    if (!IsSkipped()) gpu_.emplace(gpu_communicator(host(), rank_gpu(), "gpus", GpuTransport::staged));
  }
  void TearDown() override {
    if (gpu_) gpu_->close();
  }
  [[nodiscard]] static Communicator& host() { return world(GetParam()); }
  [[nodiscard]] Communicator& gpu() { return gpu_.value(); }

 private:
  std::optional<Communicator> gpu_;
};

TEST_P(StagedRanks, reduce_to_the_bits_of_the_host) { check_reductions(gpu(), host(), rank_device()); }
TEST_P(StagedRanks, sum_fixed_leaves_to_the_bits_of_the_host) {
  check_fixed_leaves_on_device(gpu(), host(), rank_device());
}
TEST_P(StagedRanks, move_the_bits_of_the_source) { check_moves(gpu(), host(), rank_device()); }
TEST_P(StagedRanks, split) { check_splits_of_device(gpu(), rank_device()); }
TEST_P(StagedRanks, keep_the_order_of_streams) { check_stream_order(gpu(), rank_device()); }

INSTANTIATE_TEST_SUITE_P(Hosts, StagedRanks, ::testing::ValuesIn(backends()),
                         [](const auto& instance) { return instance.param; });

// Two ranks on one GPU, as `automatic` sees them: NCCL only if it was told how.
TEST_F(GpuRanks, choose_a_transport_that_works) {
  Communicator gpu = gpu_communicator(world("shm"), rank_gpu(), "gpus");
  check_any_order(gpu, world("shm"), rank_device());
  const GpuTransportChoice choice = choose_transport(world("shm"), rank_gpu());
  EXPECT_EQ(choice.transport == GpuTransport::staged, !choice.why.empty()) << choice.why;
  gpu.close();
}

}  // namespace
}  // namespace lockstep::testing
