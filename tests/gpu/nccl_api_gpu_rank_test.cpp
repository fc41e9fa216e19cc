// SPDX-License-Identifier: Apache-2.0
// NCCL itself, through NcclApi: the habits that the mocks of the other tests imitate.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <chrono>
#include <string>
#include <thread>

#include "gpu/device.hpp"
#include "gpu/gpu_ranks.hpp"
#include "gpu/recipe.hpp"
#include "support/rank_world.hpp"

namespace lockstep::testing {
namespace {

using comm::gpu::NcclApi;
using comm::gpu::NcclComm;
using comm::gpu::NcclStatus;
using namespace std::chrono_literals;

class NcclLibrary : public GpuRanks {
 protected:
  void SetUp() override {
    GpuRanks::SetUp();
    if (!IsSkipped() && rank_gpu().device()->nccl() == nullptr) GTEST_SKIP() << "NCCL is missing";
    if (IsSkipped()) return;
    ASSERT_EQ(settled(make()), NcclStatus::success);
  }
  void TearDown() override {
    if (comm_ != nullptr) {
      EXPECT_EQ(nccl().abort(comm_), NcclStatus::success);
    }
    if (why_no_gpus().empty()) world().barrier();
  }

  [[nodiscard]] static NcclApi& nccl() { return *rank_gpu().device()->nccl(); }
  [[nodiscard]] static int version() { return nccl().versions().loaded; }
  [[nodiscard]] static comm::gpu::Stream stream() {
    return rank_gpu().device()->cuda().current_stream(rank_gpu().index());
  }

  NcclStatus make() {
    comm::gpu::UniqueId id{};
    const NcclStatus made = world().rank() == 0 ? nccl().unique_id(id) : NcclStatus::success;
    EXPECT_EQ(made, NcclStatus::success);
    world().broadcast({id.data(), static_cast<std::int64_t>(id.size()), DType::uint8}, 0).wait();
    return nccl().init(comm_, world().world_size(), id, world().rank());
  }
  NcclStatus all_reduce(at::Tensor& tensor) {
    return nccl().all_reduce(tensor.data_ptr(), tensor.data_ptr(), static_cast<std::size_t>(tensor.numel()),
                             DType::float32, ReduceOp::sum, comm_, stream());
  }
  // What a call comes to that may have returned in_progress; in_progress: it did not end within 60 s.
  NcclStatus settled(NcclStatus status) {
    const auto until = std::chrono::steady_clock::now() + 60s;
    while (status == NcclStatus::in_progress && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(1ms);
      if (const NcclStatus asked = nccl().async_error(comm_, status); asked != NcclStatus::success) return asked;
    }
    return status;
  }
  // The first async error within 60 s; success: none.
  NcclStatus async_error() {
    const auto until = std::chrono::steady_clock::now() + 60s;
    NcclStatus state = NcclStatus::success;
    while ((state == NcclStatus::success || state == NcclStatus::in_progress) &&
           std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(1ms);
      if (const NcclStatus asked = nccl().async_error(comm_, state); asked != NcclStatus::success) return asked;
    }
    return state == NcclStatus::in_progress ? NcclStatus::success : state;
  }
  [[nodiscard]] at::Tensor ones(std::int64_t elements) {
    return at::ones({elements}, at::TensorOptions().device(rank_device()));
  }

  NcclComm comm_ = nullptr;
};

TEST_F(NcclLibrary, agrees_with_the_headers_and_with_libtorch) { comm::gpu::check_versions(nccl().versions()); }

TEST_F(NcclLibrary, reduces) {
  at::Tensor tensor = ones(1000);
  EXPECT_EQ(settled(all_reduce(tensor)), NcclStatus::success);
  EXPECT_EQ(tensor.sum().item<float>(), 1000.0F * static_cast<float>(world().world_size()));
}

// Over sockets (recipe A, or several hosts) a peer's end is seen; inside a host NCCL has nothing to see it by.
TEST_F(NcclLibrary, notices_a_peer_that_aborts) {
  if (world().world_size() == 1 || recipe_for(version(), 0).letter != 'A')
    GTEST_SKIP() << "NCCL notices the end of a peer over sockets alone, which take two ranks of recipe A";
  at::Tensor tensor = ones(1 << 20);
  ASSERT_EQ(settled(all_reduce(tensor)), NcclStatus::success);
  (void)tensor.sum().item<float>();
  if (world().rank() != 1) {
    (void)all_reduce(tensor);
    EXPECT_NE(async_error(), NcclStatus::success);
  }  // rank 1 aborts in TearDown(), before it comes to the barrier
}

TEST_F(NcclLibrary, ends_a_call_that_no_peer_joins_by_abort) {
  if (world().world_size() == 1) GTEST_SKIP() << "one rank alone waits for nobody";
  at::Tensor tensor = ones(1000);
  ASSERT_EQ(settled(all_reduce(tensor)), NcclStatus::success);
  if (world().rank() == 0) (void)all_reduce(tensor);
  ASSERT_EQ(nccl().abort(comm_), NcclStatus::success);
  comm_ = nullptr;
  (void)ones(1).item<float>();  // the stream is free again
}

TEST_F(NcclLibrary, ends_a_call_that_no_peer_joins_by_revoke) {
  if (world().world_size() == 1) GTEST_SKIP() << "one rank alone waits for nobody";
  if (version() < comm::gpu::kVersionWithRevoke) GTEST_SKIP() << "this NCCL has no revoke";
  at::Tensor tensor = ones(1000);
  ASSERT_EQ(settled(all_reduce(tensor)), NcclStatus::success);
  if (world().rank() == 0) (void)all_reduce(tensor);
  EXPECT_EQ(settled(nccl().revoke(comm_)), NcclStatus::success);
  (void)ones(1).item<float>();
}

TEST_F(NcclLibrary, shrinks_after_a_rank_is_lost) {
  if (world().world_size() == 1) GTEST_SKIP() << "one rank alone has nobody to lose";
  if (version() < comm::gpu::kVersionWithShrink) GTEST_SKIP() << "this NCCL cannot shrink";
  at::Tensor tensor = ones(1000);
  ASSERT_EQ(settled(all_reduce(tensor)), NcclStatus::success);
  const int lost[] = {world().world_size() - 1};
  if (world().rank() == lost[0]) return;
  NcclComm smaller = nullptr;
  NcclStatus status = nccl().shrink(comm_, lost, smaller);
  EXPECT_EQ(settled(status), NcclStatus::success);
  ASSERT_NE(smaller, nullptr);
  EXPECT_EQ(nccl().abort(smaller), NcclStatus::success);
}

}  // namespace
}  // namespace lockstep::testing
