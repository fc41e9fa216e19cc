// SPDX-License-Identifier: Apache-2.0
#include <ATen/Functions.h>
#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>

#include "gpu/device.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/gpu.hpp"
#include "lockstep/comm/local.hpp"
#include "support/fake_gpu/fake_gpu.hpp"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// Ranks that are threads, each with a fake GPU.
template <class Body>
void on_gpus(test::FakeGpus& gpus, int world_size, const Body& body) {
  gpus.run_default_streams_on_caller();  // as LibTorch runs its work on CPU tensors
  run_local_ranks(world_size, [&](Communicator& world) {
    body(world, Gpu(std::make_shared<comm::gpu::Device>(gpus.libraries(world.rank()), 0)));
  });
}

TEST(GpuCommunicator, sums_tensors_of_the_gpu_through_the_host) {
  test::FakeGpus gpus(3);
  on_gpus(gpus, 3, [](Communicator& world, const Gpu& gpu) {
    Communicator device = gpu_communicator(world, gpu, "gpus", GpuTransport::staged);
    EXPECT_EQ(device.name(), "gpus");
    EXPECT_EQ(device.backend_name(), "staged");
    at::Tensor tensor = at::full({100, 7}, world.rank() + 1.0F);
    device.all_reduce(tensor).wait();
    EXPECT_TRUE(tensor.equal(at::full({100, 7}, 6.0F)));
    device.close();
  });
}

TEST(GpuCommunicator, leaves_the_world_to_memory_of_the_host) {
  test::FakeGpus gpus(2);
  on_gpus(gpus, 2, [](Communicator& world, const Gpu& gpu) {
    Communicator device = gpu_communicator(world, gpu, "gpus", GpuTransport::staged);
    at::Tensor on_gpu = at::ones({10});
    at::Tensor on_host = at::ones({10});
    Work work = device.all_reduce(on_gpu);
    world.all_reduce(on_host).wait();
    world.barrier();
    work.wait();
    EXPECT_TRUE(on_gpu.equal(on_host));
  });
}

TEST(GpuCommunicator, splits_into_communicators_of_the_same_kind) {
  test::FakeGpus gpus(4);
  on_gpus(gpus, 4, [](Communicator& world, const Gpu& gpu) {
    Communicator device = gpu_communicator(world, gpu, "gpus", GpuTransport::staged);
    Communicator half = *device.split(world.rank() % 2, -world.rank(), "half");
    EXPECT_EQ(half.backend_name(), "staged");
    std::int64_t ranks = world.rank();
    half.all_reduce({&ranks, 1, DType::int64}).wait();
    EXPECT_EQ(ranks, world.rank() % 2 == 0 ? 2 : 4);
  });
}

TEST(GpuCommunicator, goes_through_the_host_by_itself_where_a_rank_has_no_nccl) {
  test::FakeGpus gpus(2);
  gpus.remove_nccl(1);
  on_gpus(gpus, 2, [](Communicator& world, const Gpu& gpu) {
    const GpuTransportChoice choice = choose_transport(world, gpu);
    EXPECT_EQ(choice.transport, GpuTransport::staged);
    EXPECT_EQ(choice.why, "rank 1 has no NCCL");
    EXPECT_EQ(gpu_communicator(world, gpu, "gpus").backend_name(), "staged");
  });
}

TEST(GpuCommunicator, takes_nccl_by_itself_where_it_can) {
  test::FakeGpus gpus(2);
  on_gpus(gpus, 2, [](Communicator& world, const Gpu& gpu) {
    EXPECT_EQ(choose_transport(world, gpu).transport, GpuTransport::nccl);
    Communicator device = gpu_communicator(world, gpu, "gpus");
    EXPECT_EQ(device.backend_name(), "nccl");
    device.close();
  });
}

TEST(GpuCommunicator, refuses_nccl_on_all_ranks_where_two_share_a_gpu) {
  test::FakeGpus gpus(2);
  gpus.set_uuid(0, "GPU-17");
  gpus.set_uuid(1, "GPU-17");
  on_gpus(gpus, 2, [](Communicator& world, const Gpu& gpu) {
    EXPECT_THAT(
        [&] { (void)gpu_communicator(world, gpu, "gpus", GpuTransport::nccl); },
        ThrowsMessage<UsageError>(AllOf(HasSubstr("\"gpus\" over NCCL"),
                                        HasSubstr("ranks 0 and 1 share the GPU GPU-17"), HasSubstr("docs/gpus.md"))));
    world.barrier();
  });
}

TEST(Gpu, says_what_it_is) {
  test::FakeGpus gpus(1);
  gpus.set_uuid(0, "GPU-17");
  on_gpus(gpus, 1, [](Communicator&, const Gpu& gpu) {
    EXPECT_EQ(gpu.index(), 0);
    EXPECT_EQ(gpu.uuid(), "GPU-17");
    EXPECT_FALSE(gpu.name().empty());
  });
}

TEST(Gpu, copies_with_scale_and_conversion_on_the_current_stream) {
  test::FakeGpus gpus(1);
  on_gpus(gpus, 1, [&](Communicator&, const Gpu& gpu) {
    const at::Tensor from = at::arange(6, at::kFloat).view({2, 3}).t();
    at::Tensor to = at::empty_like(from, at::kBFloat16);
    gpu.scaled_copy(to, from, 0.5);
    ASSERT_TRUE(gpus.synchronize(0));
    EXPECT_TRUE(to.equal(at::mul(from, 0.5).to(at::kBFloat16)));
    gpu.scaled_copy(to, from, 2.0, true);
    ASSERT_TRUE(gpus.synchronize(0));
    EXPECT_TRUE(to.equal(at::mul(from, 2.5).to(at::kBFloat16)));
  });
}

TEST(Gpu, unscales_tensors_and_tells_their_norm) {
  test::FakeGpus gpus(1);
  on_gpus(gpus, 1, [&](Communicator&, const Gpu& gpu) {
    const at::Tensor tensors[] = {at::full({3}, 4.0F), at::full({2, 2}, 2.0F).to(at::kHalf)};
    const at::Tensor scale = at::full({}, 0.5F);
    const at::Tensor non_finite = at::zeros({});
    const at::Tensor squared_norm = at::zeros({}, at::kDouble);
    gpu.unscale(tensors, scale, non_finite, squared_norm);
    ASSERT_TRUE(gpus.synchronize(0));
    EXPECT_TRUE(tensors[0].equal(at::full({3}, 2.0F)));
    EXPECT_TRUE(tensors[1].equal(at::ones({2, 2}, at::kHalf)));
    EXPECT_EQ(non_finite.item<float>(), 0.0F);
    EXPECT_EQ(squared_norm.item<double>(), 16.0);
  });
}

TEST(Gpu, refuses_tensors_that_it_cannot_take) {
  test::FakeGpus gpus(1);
  on_gpus(gpus, 1, [&](Communicator&, const Gpu& gpu) {
    const at::Tensor good = at::ones({4, 4});
    const auto refused = [&](const at::Tensor& to, const at::Tensor& from, const char* why) {
      EXPECT_THAT([&] { gpu.scaled_copy(to, from, 1.0); }, ThrowsMessage<UsageError>(HasSubstr(why)));
    };
    refused(at::Tensor(), good, "undefined");
    refused(good, at::ones({4, 8}).slice(1, 0, 4), "not dense");
    refused(good, good.t(), "differ in shape or strides");
    refused(good, at::ones({4}), "differ in shape or strides");
    refused(good, at::ones({4, 4}, at::kInt), "int32, which is no float");
    EXPECT_THAT([&] { gpu.unscale({}, good, good, good); },
                ThrowsMessage<UsageError>(HasSubstr("`scale` must be one value of float32")));
  });
}

}  // namespace
}  // namespace lockstep::testing
