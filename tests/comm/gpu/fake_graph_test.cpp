// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <stdexcept>
#include <vector>

#include "support/fake_gpu/fake_gpu.hpp"

namespace lockstep::test {
namespace {

using comm::gpu::CudaApi;
using comm::gpu::CudaStatus;
using comm::gpu::Event;
using comm::gpu::Stream;
using testing::Each;

// A rank with two streams, the first of which is current and captured, and two events.
class FakeGraph : public testing::Test {
 protected:
  void SetUp() override {
    for (Stream* stream : {&main_, &side_}) ASSERT_EQ(cuda_.create_stream(*stream), CudaStatus::success);
    for (Event* event : {&fork_, &join_}) ASSERT_EQ(cuda_.create_event(*event), CudaStatus::success);
  }
  void TearDown() override {
    for (Event event : {fork_, join_}) EXPECT_EQ(cuda_.destroy_event(event), CudaStatus::success);
  }
  void order(Stream before, Event event, Stream after) {
    ASSERT_EQ(cuda_.record(event, before), CudaStatus::success);
    ASSERT_EQ(cuda_.make_wait(after, event), CudaStatus::success);
  }
  // to = from · 2, on `stream`
  void twice(std::vector<float>& to, const std::vector<float>& from, Stream stream) {
    const comm::gpu::ScaledCopy copy{from.data(), to.data(), 4, DType::float32, DType::float32};
    ASSERT_EQ(cuda_.scaled_copy(std::span(&copy, 1), 2.0, false, stream), CudaStatus::success);
  }

  FakeGpus gpus_{1};
  CudaApi& cuda_ = *gpus_.libraries(0).cuda;
  std::unique_ptr<comm::gpu::Graph> graph_ = gpus_.libraries(0).graphs->make_graph();
  Stream main_{}, side_{};
  Event fork_{}, join_{};
  std::vector<float> a_ = {1, 1, 1, 1}, b_ = {0, 0, 0, 0};
};

TEST_F(FakeGraph, runs_on_replay_what_joined_streams_were_given) {
  const FakeStreamGuard guard(main_);
  graph_->begin_capture();
  EXPECT_TRUE(cuda_.capturing(main_));
  EXPECT_FALSE(cuda_.capturing(side_));
  order(main_, fork_, side_);
  EXPECT_TRUE(cuda_.capturing(side_));
  twice(b_, a_, side_);
  order(side_, join_, main_);
  twice(a_, b_, main_);
  graph_->end_capture();
  EXPECT_FALSE(cuda_.capturing(side_));
  ASSERT_TRUE(gpus_.synchronize(0));
  EXPECT_THAT(a_, Each(1));  // recorded, not run
  graph_->replay();
  graph_->replay();
  ASSERT_TRUE(gpus_.synchronize(0));
  EXPECT_THAT(a_, Each(16));
}

TEST_F(FakeGraph, replays_collectives) {
  auto& nccl = *gpus_.libraries(0).nccl;
  comm::gpu::NcclComm comm{};
  auto state = nccl.init(comm, 1, {}, 0);
  while (state == comm::gpu::NcclStatus::in_progress) {
    ASSERT_EQ(nccl.async_error(comm, state), comm::gpu::NcclStatus::success);
  }
  const FakeStreamGuard guard(main_);
  graph_->begin_capture();
  ASSERT_EQ(nccl.all_reduce(a_.data(), b_.data(), 4, DType::float32, ReduceOp::sum, comm, main_),
            comm::gpu::NcclStatus::success);
  graph_->end_capture();
  for (const float value : {3.0F, 5.0F}) {
    a_.assign(4, value);
    graph_->replay();
    ASSERT_TRUE(gpus_.synchronize(0));
    EXPECT_THAT(b_, Each(value));
  }
}

TEST_F(FakeGraph, refuses_a_stream_that_is_not_joined_again) {
  const FakeStreamGuard guard(main_);
  graph_->begin_capture();
  order(main_, fork_, side_);
  twice(b_, a_, side_);
  EXPECT_THROW(graph_->end_capture(), std::runtime_error);
}

TEST_F(FakeGraph, refuses_the_default_stream) { EXPECT_THROW(graph_->begin_capture(), std::runtime_error); }

TEST_F(FakeGraph, refuses_what_cuda_refuses_in_a_capture) {
  ASSERT_EQ(cuda_.record(join_, side_), CudaStatus::success);
  const FakeStreamGuard guard(main_);
  graph_->begin_capture();
  ASSERT_EQ(cuda_.record(fork_, main_), CudaStatus::success);
  std::byte* block{};
  EXPECT_EQ(static_cast<int>(cuda_.allocate(block, 1)), 900);
  EXPECT_EQ(static_cast<int>(cuda_.make_wait(main_, join_)), 905);  // recorded outside of it
  EXPECT_EQ(static_cast<int>(cuda_.query(fork_)), 907);
  graph_->end_capture();
}

}  // namespace
}  // namespace lockstep::test
