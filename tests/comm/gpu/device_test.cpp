// SPDX-License-Identifier: Apache-2.0
#include "gpu/device.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <thread>

#include "lockstep/base/error.hpp"
#include "lockstep/comm/backend.hpp"
#include "support/fake_gpu/fake_gpu.hpp"

namespace lockstep::test {
namespace {

using comm::BackendFailure;
using comm::gpu::Device;
using comm::gpu::EventPool;
using testing::HasSubstr;

TEST(EventPool, gives_an_event_again_when_the_last_has_let_go) {
  FakeGpus gpus(1);
  {
    EventPool pool(*gpus.libraries(0).cuda);
    auto first = pool.take();
    const auto* const handle = first.get();
    auto shared = first;
    first.reset();
    EXPECT_NE(pool.take().get(), handle);
    shared.reset();
    const auto a = pool.take(), b = pool.take();
    EXPECT_TRUE(a.get() == handle || b.get() == handle);
    EXPECT_EQ(gpus.events_alive(0), 2);
  }
  EXPECT_EQ(gpus.events_alive(0), 0);
}

TEST(EventPool, takes_events_from_several_threads) {
  FakeGpus gpus(1);
  EventPool pool(*gpus.libraries(0).cuda);
  const auto take = [&] {
    for (int i = 0; i < 1000; ++i) EXPECT_NE(pool.take(), nullptr);
  };
  std::thread other(take);
  take();
  other.join();
  EXPECT_LE(gpus.events_alive(0), 2);
}

TEST(Device, gives_zeroed_memory_and_frees_it) {
  FakeGpus gpus(1);
  Device device(gpus.libraries(0), 0);
  EXPECT_EQ(device.facts().uuid, "GPU-fake-0");
  {
    const auto memory = device.allocate(100), pinned = device.allocate_pinned(100);
    ASSERT_TRUE(gpus.synchronize(0));
    const auto zero = [](std::byte byte) { return byte == std::byte{0}; };
    EXPECT_TRUE(std::all_of(memory.get(), memory.get() + 100, zero));
    EXPECT_TRUE(std::all_of(pinned.get(), pinned.get() + 100, zero));
    EXPECT_EQ(gpus.blocks_alive(0), 2);
  }
  EXPECT_EQ(gpus.blocks_alive(0), 0);
}

TEST(Device, names_what_was_asked_for_when_memory_is_full) {
  FakeGpus gpus(1);
  Device device(gpus.libraries(0), 0);
  gpus.fail_allocations(0, true);
  try {
    static_cast<void>(device.allocate(std::size_t{3} << 29));
    FAIL();
  } catch (const BackendFailure& thrown) {
    EXPECT_THAT(thrown.failure.why, HasSubstr("cudaMalloc of 1610612736 bytes (1.50 GiB) on GPU 0 (Fake GPU, 1.0 GiB): "
                                              "cudaErrorMemoryAllocation: out of memory, error 2"));
    EXPECT_THAT(thrown.failure.fix, HasSubstr("nvidia-smi"));
  }
  try {
    static_cast<void>(device.allocate_pinned(100));
    FAIL();
  } catch (const BackendFailure& thrown) {
    EXPECT_THAT(thrown.failure.why, HasSubstr("cudaHostAlloc of 100 bytes (0.00 GiB) of the host's memory: "));
    EXPECT_THAT(thrown.failure.fix, HasSubstr("container"));
  }
}

TEST(Device, refuses_a_gpu_that_is_not_there) {
  FakeGpus gpus(1);
  try {
    const Device device(gpus.libraries(0), 1);
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("GPU 1: this process sees 1 GPU, numbered from 0"));
    EXPECT_THAT(error.what(), HasSubstr("CUDA_VISIBLE_DEVICES"));
  }
}

TEST(Device, refuses_an_nccl_that_is_not_libtorchs) {
  FakeGpus gpus(1);
  gpus.set_versions({.headers = 22809, .loaded = 22703, .libtorch = 22809, .loaded_path = "/a", .libtorch_path = "/b"});
  EXPECT_THROW(Device(gpus.libraries(0), 0), UsageError);
  gpus.remove_nccl(0);
  EXPECT_NO_THROW(Device(gpus.libraries(0), 0));
}

}  // namespace
}  // namespace lockstep::test
