// SPDX-License-Identifier: Apache-2.0
// How calls take their place among what is queued on streams. Memory is that of a fake GPU: what is not ordered by
// events is a data race.
#include <gmock/gmock.h>

#include <algorithm>

#include "comm/gpu/nccl_ranks.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::testing {
namespace {

using comm::gpu::CudaStatus;
using comm::gpu::Stream;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// Floats on a rank's GPU.
class DeviceFloats {
 public:
  DeviceFloats(NcclRank& rank, std::int64_t elements)
      : memory_(rank.device->allocate(static_cast<std::size_t>(elements) * sizeof(float))), elements_(elements) {}
  [[nodiscard]] float* data() const { return reinterpret_cast<float*>(memory_.get()); }
  [[nodiscard]] Buffer buffer() const { return {data(), elements_, DType::float32}; }
  [[nodiscard]] std::size_t bytes() const { return static_cast<std::size_t>(elements_) * sizeof(float); }
  [[nodiscard]] const std::shared_ptr<std::byte>& memory() const { return memory_; }
  [[nodiscard]] bool all(float value) const {
    return std::all_of(data(), data() + elements_, [&](float each) { return each == value; });
  }

 private:
  std::shared_ptr<std::byte> memory_;
  std::int64_t elements_;
};

void copy(NcclRank& rank, const DeviceFloats& to, const void* from) {
  const Stream stream = rank.cuda().current_stream(0);
  ASSERT_EQ(rank.cuda().copy(to.data(), from, to.bytes(), stream), CudaStatus::success);
}

void wait_for_all(test::FakeGpus& gpus, NcclRank& rank) { ASSERT_TRUE(gpus.synchronize(rank.world.rank())); }

constexpr std::int64_t kElements = 100'000;

TEST(NcclStreams, a_call_comes_after_its_input_and_before_what_uses_its_result) {
  test::FakeGpus gpus(2);
  const std::vector<float> ones(kElements, 1.0F);
  on_nccl(gpus, 2, [&](NcclRank& rank) {
    const DeviceFloats tensor(rank, kElements), used(rank, kElements);
    for (int round = 0; round < 10; ++round) {
      copy(rank, tensor, ones.data());
      rank.gpus.all_reduce(tensor.buffer()).wait();
      copy(rank, used, tensor.data());
    }
    wait_for_all(gpus, rank);
    EXPECT_TRUE(used.all(2.0F));
  });
}

TEST(NcclStreams, the_host_does_not_wait_for_streams_that_stand_still) {
  test::FakeGpus gpus(2);
  on_nccl(gpus, 2, [&](NcclRank& rank) {
    const DeviceFloats tensor(rank, kElements);
    rank.gpus.all_reduce(tensor.buffer()).wait();
    wait_for_all(gpus, rank);
    rank.world.barrier();
    gpus.hold_streams(rank.world.rank(), true);
    Work work = rank.gpus.all_reduce(tensor.buffer());
    work.wait();
    EXPECT_FALSE(work.done());
    gpus.hold_streams(rank.world.rank(), false);
    wait_for_all(gpus, rank);
    EXPECT_TRUE(work.done());
  });
}

TEST(NcclStreams, tensors_live_until_the_device_is_done) {
  test::FakeGpus gpus(1);
  on_nccl(gpus, 1, [&](NcclRank& rank) {
    const DeviceFloats tensor(rank, kElements);
    gpus.hold_streams(0, true);
    const auto kept = std::make_shared<int>(0);
    {
      Work work = rank.gpus.all_reduce(tensor.buffer());
      work.keep_alive(kept);
      work.wait();
    }
    EXPECT_EQ(kept.use_count(), 2);
    gpus.hold_streams(0, false);
    wait_for_all(gpus, rank);
    rank.gpus.progress();
    EXPECT_EQ(kept.use_count(), 1);
  });
}

TEST(NcclStreams, two_communicators_may_be_in_flight_together) {
  test::FakeGpus gpus(3);
  const std::vector<float> ones(kElements, 1.0F);
  on_nccl(gpus, 3, [&](NcclRank& rank) {
    Communicator other = rank.gpus.duplicate("other");
    const DeviceFloats a(rank, kElements), b(rank, kElements);
    copy(rank, a, ones.data());
    copy(rank, b, ones.data());
    for (int round = 0; round < 3; ++round) {
      Work first = rank.gpus.all_reduce(a.buffer());
      Work second = other.all_reduce(b.buffer());
      second.wait();
      first.wait();
    }
    wait_for_all(gpus, rank);
    EXPECT_TRUE(a.all(27.0F));
    EXPECT_TRUE(b.all(27.0F));
  });
}

TEST(NcclStreams, steady_calls_neither_wait_nor_allocate_nor_make_events) {
  test::FakeGpus gpus(2);
  on_nccl(gpus, 2, [&](NcclRank& rank) {
    const int self = rank.world.rank();
    const DeviceFloats tensor(rank, kElements);
    const auto run = [&](int calls) {
      for (int i = 0; i < calls; ++i) {
        rank.gpus.all_reduce(tensor.buffer()).wait();
        wait_for_all(gpus, rank);
      }
    };
    run(5);
    const int waits = gpus.host_waits(self), blocks = gpus.blocks_alive(self), events = gpus.events_alive(self);
    run(50);
    EXPECT_EQ(gpus.host_waits(self), waits);
    EXPECT_EQ(gpus.blocks_alive(self), blocks);
    EXPECT_EQ(gpus.events_alive(self), events);
  });
}

TEST(NcclStreams, a_barrier_waits_for_the_peers) {
  test::FakeGpus gpus(2);
  std::atomic<bool> came{false};
  on_nccl(gpus, 2, [&](NcclRank& rank) {
    if (rank.world.rank() == 1) came = true;
    rank.gpus.barrier();
    EXPECT_TRUE(came);
  });
}

// A stream of its own as the current one: captures need one.
class OwnStream {
 public:
  explicit OwnStream(NcclRank& rank) : rank_(rank) {
    EXPECT_EQ(rank.cuda().create_stream(stream_), CudaStatus::success);
    guard_.emplace(stream_);
  }
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  ~OwnStream() {
    guard_.reset();
    EXPECT_EQ(rank_.cuda().destroy_stream(stream_), CudaStatus::success);
  }

 private:
  NcclRank& rank_;
  Stream stream_ = nullptr;
  std::optional<test::FakeStreamGuard> guard_;
};

TEST(NcclCapture, a_replayed_call_has_the_results_of_a_call) {
  test::FakeGpus gpus(2);
  on_nccl(gpus, 2, [&](NcclRank& rank) {
    const OwnStream stream(rank);
    const std::vector<float> ones(kElements, 1.0F);
    const DeviceFloats tensor(rank, kElements);
    rank.gpus.all_reduce(tensor.buffer()).wait();  // allocates what it works in
    wait_for_all(gpus, rank);
    auto graph = rank.device->libraries().graphs->make_graph();
    graph->begin_capture();
    rank.gpus.all_reduce(tensor.buffer()).wait();
    graph->end_capture();
    copy(rank, tensor, ones.data());
    graph->replay();
    rank.gpus.all_reduce(tensor.buffer()).wait();  // in memory of its own
    graph->replay();
    wait_for_all(gpus, rank);
    EXPECT_TRUE(tensor.all(8.0F));
  });
}

// The first wait must not take the second call for done before the capturing stream comes after it.
TEST(NcclCapture, calls_in_flight_together_are_all_joined) {
  test::FakeGpus gpus(2);
  on_nccl(gpus, 2, [&](NcclRank& rank) {
    const OwnStream stream(rank);
    const std::vector<float> ones(kElements, 1.0F);
    const DeviceFloats a(rank, kElements);
    const DeviceFloats b(rank, kElements);
    rank.gpus.all_reduce(a.buffer()).wait();
    rank.gpus.all_reduce(b.buffer()).wait();
    wait_for_all(gpus, rank);
    auto graph = rank.device->libraries().graphs->make_graph();
    graph->begin_capture();
    Work first = rank.gpus.all_reduce(a.buffer());
    Work second = rank.gpus.all_reduce(b.buffer());
    first.wait();
    EXPECT_FALSE(second.done());
    second.wait();
    EXPECT_TRUE(second.done());
    graph->end_capture();
    copy(rank, a, ones.data());
    copy(rank, b, ones.data());
    graph->replay();
    wait_for_all(gpus, rank);
    EXPECT_TRUE(a.all(2.0F));
    EXPECT_TRUE(b.all(2.0F));
  });
}

TEST(NcclCapture, a_first_call_asks_for_steps_before) {
  test::FakeGpus gpus(2);
  on_nccl(gpus, 2, [&](NcclRank& rank) {
    const OwnStream stream(rank);
    const DeviceFloats tensor(rank, kElements);
    wait_for_all(gpus, rank);
    auto graph = rank.device->libraries().graphs->make_graph();
    graph->begin_capture();
    EXPECT_THAT([&] { rank.gpus.all_reduce(tensor.buffer()).wait(); },
                ThrowsMessage<UsageError>(HasSubstr("run at least one step")));
    EXPECT_THROW(rank.gpus.barrier(), UsageError);
    graph->end_capture();
    EXPECT_FALSE(rank.gpus.failed());
  });
}

}  // namespace
}  // namespace lockstep::testing
