// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gmock/gmock.h>

#include <cmath>

#include "gpu/device_cases.hpp"
#include "gpu/gpu_ranks.hpp"
#include "gpu/graph_api.hpp"
#include "support/rank_world.hpp"

namespace lockstep::testing {
namespace {

// One communicator for all tests: making one takes NCCL seconds.
class NcclRanks : public GpuRanks {
 protected:
  void SetUp() override {
    GpuRanks::SetUp();
    if (!IsSkipped() && !gpu_) gpu_.emplace(gpu_communicator(world(), rank_gpu(), "gpus", GpuTransport::nccl));
  }
  static void TearDownTestSuite() {
    if (gpu_) gpu_->close();
    gpu_.reset();
  }
  [[nodiscard]] static Communicator& gpu() { return gpu_.value(); }

 private:
  static inline std::optional<Communicator> gpu_;
};

TEST_F(NcclRanks, are_over_nccl) { EXPECT_EQ(gpu().backend_name(), "nccl"); }
TEST_F(NcclRanks, reduce_to_the_bits_of_the_host) { check_reductions(gpu(), world("shm"), rank_device()); }
TEST_F(NcclRanks, reduce_in_any_order_to_about_the_same) { check_any_order(gpu(), world("shm"), rank_device()); }
TEST_F(NcclRanks, sum_fixed_leaves_to_the_bits_of_the_host) {
  check_fixed_leaves_on_device(gpu(), world("shm"), rank_device());
}
TEST_F(NcclRanks, move_the_bits_of_the_source) { check_moves(gpu(), world("shm"), rank_device()); }
TEST_F(NcclRanks, split) { check_splits_of_device(gpu(), rank_device()); }
TEST_F(NcclRanks, keep_the_order_of_streams) { check_stream_order(gpu(), rank_device()); }

// The memory of a tensor that the caller lets go of is not given to the next one before the call is done with it.
TEST_F(NcclRanks, keep_their_tensors_until_the_call_is_done) {
  const auto options = at::TensorOptions().device(rank_device());
  for (int i = 0; i < 20; ++i) {
    at::Tensor result = at::empty({1 << 20}, options);
    Work work = [&] {
      const at::Tensor input = at::full({1 << 20}, i, options);
      return gpu().all_reduce(result, input);
    }();
    const at::Tensor other = at::full({1 << 20}, -1, options);  // would be the same memory
    work.wait();
    EXPECT_TRUE((result == i * gpu().world_size()).all().item<bool>()) << i;
  }
}

// The host runs ahead of some 10^13 operations that the stream holds by then.
TEST_F(NcclRanks, let_the_host_run_ahead) {
  const auto options = at::TensorOptions().device(rank_device());
  at::Tensor busy = at::full({4096, 4096}, 1.0 / 4096, options), x = at::ones({1000}, options);
  gpu().all_reduce(x).wait();
  for (int i = 0; i < 100; ++i) busy = at::mm(busy, busy);
  x.add_(busy[0][0]);
  Work work = gpu().all_reduce(x);
  work.wait();
  EXPECT_FALSE(work.done());
  gpu().barrier();
  EXPECT_TRUE(work.done());
}

// x ← sum over ranks of 2·x, which stays exact.
TEST_F(NcclRanks, are_captured_into_a_graph) {
  const c10::impl::VirtualGuardImpl guard(rank_device().type());
  const c10::StreamGuard side(guard.getStreamFromGlobalPool(rank_device()));  // the default stream cannot be captured
  at::Tensor x = at::ones({70'001}, at::TensorOptions().device(rank_device()));
  const auto step = [&] {
    x.mul_(2);
    gpu().all_reduce(x).wait();
  };
  step();  // makes what is made once
  const auto graph = rank_gpu().make_graph();
  graph->begin_capture();
  step();
  graph->end_capture();
  graph->replay();
  graph->replay();
  const float expected = std::pow(2.0F * static_cast<float>(world().world_size()), 3.0F);
  EXPECT_TRUE((x == expected).all().item<bool>());
}

}  // namespace
}  // namespace lockstep::testing
