// SPDX-License-Identifier: Apache-2.0
// What fails, fails on every rank with the cause, and leaves the GPU fit for the next communicator.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "gpu/gpu_ranks.hpp"
#include "lockstep/base/error.hpp"
#include "support/rank_world.hpp"

namespace lockstep::testing {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

// Needs a peer to fail with.
class NcclFailures : public GpuRanks {
 protected:
  void SetUp() override {
    GpuRanks::SetUp();
    if (!IsSkipped() && world().world_size() == 1) GTEST_SKIP() << "one rank alone has no peer to fail with";
    if (IsSkipped()) return;
    options_ = at::TensorOptions().device(rank_device());
    gpu_.emplace(gpu_communicator(world("shm"), rank_gpu(), "doomed", GpuTransport::nccl));
    tensor_ = at::ones({1000}, options_);
    gpu_->all_reduce(tensor_).wait();  // NCCL connects at the first call
    gpu_->barrier();
  }
  void TearDown() override {
    gpu_.reset();  // no close(): it has failed
    if (!why_no_gpus().empty() || world().world_size() == 1) return;
    world().barrier();
    Communicator next = gpu_communicator(world("shm"), rank_gpu(), "next", GpuTransport::nccl);
    at::Tensor ones = at::ones({1000}, options_);
    next.all_reduce(ones).wait();
    EXPECT_EQ(ones.sum().item<float>(), 1000.0F * static_cast<float>(world().world_size()));
    next.close();
  }

  // The failure of a call that nobody waits for on the host comes with a look at it, or with the next call.
  template <class Expected>
  void expect_failure(Work& work, const std::string& text) {
    const auto until = std::chrono::steady_clock::now() + 60s;
    try {
      while (!work.done() && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(1ms);
      while (std::chrono::steady_clock::now() < until) gpu_->barrier({.timeout = 60s});
      ADD_FAILURE() << "no failure within 60 s";
    } catch (const Expected& error) {
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
    EXPECT_TRUE(gpu_->failed());
  }

  at::TensorOptions options_;
  std::optional<Communicator> gpu_;
  at::Tensor tensor_;
};

TEST_F(NcclFailures, a_rank_that_does_not_come_is_named) {
  if (world().rank() == 1) {
    world().barrier();
    return;
  }
  Work work = gpu_->all_reduce(tensor_, ReduceOp::sum, {.timeout = 3s, .label = "gradients of fc1"});
  work.wait();  // joins the stream; the time is the watchdog's
  expect_failure<TimeoutError>(work, "rank 1");
  world().barrier();
}

TEST_F(NcclFailures, a_rank_that_gives_up_ends_the_calls_of_the_others) {
  if (world().rank() == 1) {
    gpu_->abort("shard 7 is truncated");
    return;
  }
  Work work = gpu_->all_reduce(tensor_);
  expect_failure<PeerDied>(work, "shard 7 is truncated");
}

TEST_F(NcclFailures, calls_that_differ_are_named_on_all_ranks) {
  at::Tensor other = at::ones({world().rank() == 1 ? 2000 : 1000}, options_);
  Work work = gpu_->all_reduce(other);
  expect_failure<MismatchError>(work, "2000 × float32");
}

TEST_F(NcclFailures, a_failed_communicator_throws_its_first_error_again) {
  gpu_->abort("first");
  EXPECT_ANY_THROW(gpu_->all_reduce(tensor_).wait());
  EXPECT_ANY_THROW(gpu_->barrier());
  EXPECT_TRUE(gpu_->failed());
}

TEST_F(NcclFailures, those_who_come_go_on_in_a_smaller_communicator) {
  const int absent = world().world_size() - 1;
  gpu_->abort("for a test");
  if (world().rank() == absent) return;
  Communicator smaller = gpu_->shrink("smaller");  // waits the communicator's timeout for the one who does not come
  EXPECT_EQ(smaller.world_size(), absent);
  at::Tensor ones = at::ones({1000}, options_);
  smaller.all_reduce(ones).wait();
  EXPECT_EQ(ones.sum().item<float>(), 1000.0F * static_cast<float>(absent));
  smaller.close();
}

}  // namespace
}  // namespace lockstep::testing
