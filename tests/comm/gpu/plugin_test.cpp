// SPDX-License-Identifier: Apache-2.0
// The real plugin. It loads without a driver, but not without the libraries that libtorch_cuda needs.
#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>
#include <gmock/gmock.h>

#include "gpu/libraries.hpp"
#include "gpu/plugin_loader.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::comm::gpu {
namespace {

class RealPlugin : public testing::Test {
 protected:
  void SetUp() override {
    try {
      libraries_ = &open_plugin(plugin_files());
    } catch (const UsageError& error) {
      ASSERT_THAT(error.text().why, testing::HasSubstr("is missing, which LibTorch needs for GPUs"));
      GTEST_SKIP() << error.what();
    }
  }
  const Libraries* libraries_ = nullptr;
};

TEST_F(RealPlugin, has_one_nccl_of_one_version) {
  EXPECT_NO_THROW(check_versions(libraries_->nccl->versions()));
  EXPECT_THAT(libraries_->nccl->versions().loaded_path, testing::HasSubstr("libnccl.so"));
  EXPECT_THAT(libraries_->nccl->versions().libtorch_path, testing::HasSubstr("libtorch_cuda.so"));
}

TEST_F(RealPlugin, tells_errors_by_name_and_text) {
  EXPECT_EQ(libraries_->cuda->text(static_cast<CudaStatus>(2)), "cudaErrorMemoryAllocation: out of memory");
  EXPECT_THAT(libraries_->nccl->text(NcclStatus::invalid_usage),
              testing::StartsWith("ncclInvalidUsage: invalid usage"));
}

TEST_F(RealPlugin, gives_libtorch_its_cuda_part) { EXPECT_TRUE(at::detail::getCUDAHooks().hasCUDART()); }

TEST_F(RealPlugin, counts_no_devices_where_there_is_no_driver) {
  if (driver_is_present()) GTEST_SKIP() << "there is a driver";
  int count = -1;
  EXPECT_NE(libraries_->cuda->device_count(count), CudaStatus::success);
  EXPECT_LE(count, 0);
  DeviceFacts facts;
  EXPECT_NE(libraries_->cuda->facts(0, facts), CudaStatus::success);
  EXPECT_FALSE(libraries_->cuda->has_kernels());
}

TEST_F(RealPlugin, refuses_reductions_that_nccl_has_only_by_name) {
  EXPECT_TRUE(libraries_->nccl->reduces(DType::float32, ReduceOp::sum));
  EXPECT_TRUE(libraries_->nccl->reduces(DType::int32, ReduceOp::max));
  EXPECT_FALSE(libraries_->nccl->reduces(DType::float32, ReduceOp::max));  // it loses NaN
  EXPECT_FALSE(libraries_->nccl->reduces(DType::int16, ReduceOp::sum));
  EXPECT_FALSE(libraries_->nccl->reduces(DType::uint8, ReduceOp::bit_or));
}

}  // namespace
}  // namespace lockstep::comm::gpu
