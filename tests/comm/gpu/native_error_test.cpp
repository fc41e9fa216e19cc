// SPDX-License-Identifier: Apache-2.0
#include "gpu/native_error.hpp"

#include <gmock/gmock.h>

#include <string>

#include "support/fake_gpu/fake_gpu.hpp"

namespace lockstep::test {
namespace {

using comm::BackendFailure;
using comm::Failure;
using comm::FailureKind;
using comm::gpu::CudaStatus;
using comm::gpu::NcclStatus;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

Failure cuda_failure(int status, const char* call) {
  FakeGpus gpus(1);
  try {
    comm::gpu::check(*gpus.libraries(0).cuda, CudaStatus{status}, call);
  } catch (const BackendFailure& thrown) {
    return thrown.failure;
  }
  return {};
}

Failure nccl_failure(int status, const char* last_error) {
  FakeGpus gpus(1);
  gpus.set_last_error(0, last_error);
  try {
    comm::gpu::check(*gpus.libraries(0).nccl, nullptr, NcclStatus{status}, "ncclGroupEnd");
  } catch (const BackendFailure& thrown) {
    return thrown.failure;
  }
  return {};
}

struct Text {
  int status;
  const char* said;  // the call, or NCCL's last error
  const char* cause;
  const char* fix;
};

TEST(NativeError, knows_the_causes_of_cuda_errors) {
  const Text texts[] = {
      {2, "cudaMalloc", "no room left", "smaller micro-batches"},
      {2, "cudaHostAlloc", "memory that can be locked", "memory of the job or container"},
      {3, "cudaSetDevice", "could not start", "nvidia-smi"},
      {35, "cudaSetDevice", "older than this CUDA", "newer driver"},
      {46, "cudaSetDevice", "holds the GPU alone", "COMPUTE"},
      {100, "cudaSetDevice", "no GPU to this process", "CUDA_VISIBLE_DEVICES"},
      {101, "cudaSetDevice", "no GPU of this number", "docs/gpus.md"},
      {209, "reduce_slices", "not compiled for this GPU", "CMAKE_CUDA_ARCHITECTURES"},
      {214, "cudaEventQuery", "could not correct", "take this GPU out"},
      {700, "cudaEventQuery", "memory that is not its own", "CUDA_LAUNCH_BLOCKING=1"},
      {719, "cudaEventQuery", "a kernel failed", "compute-sanitizer"},
      {802, "cudaSetDevice", "switches", "nvidia-fabricmanager"},
      {900, "cudaMalloc", "captured into a CUDA graph", "before the capture"},
  };
  for (const Text& text : texts) {
    const Failure failure = cuda_failure(text.status, text.said);
    EXPECT_EQ(failure.kind, FailureKind::native);
    EXPECT_THAT(failure.why, StartsWith(text.said));
    EXPECT_THAT(failure.why, HasSubstr("error " + std::to_string(text.status)));
    EXPECT_THAT(failure.why, HasSubstr(text.cause));
    EXPECT_THAT(failure.fix, HasSubstr(text.fix));
  }
}

TEST(NativeError, knows_the_causes_of_nccl_errors) {
  const Text texts[] = {
      {1, "Cuda failure 'out of memory'", "a CUDA call failed in NCCL", "CUDA_LAUNCH_BLOCKING=1"},
      {2, "Error while creating shared memory segment /dev/shm/nccl-x", "shared memory", "docker: --shm-size"},
      {2, "write failed: No space left on device", "/dev/shm is full", "docker: --shm-size"},
      {2, "socketStartConnect: Connect to 10.0.0.1 failed", "network interface", "NCCL_SOCKET_IFNAME"},
      {2, "", "full /dev/shm", "NCCL_DEBUG=INFO"},
      {3, "", "a fault in NCCL", "NCCL_DEBUG=INFO"},
      {4, "", "does not take", "NCCL_DEBUG=WARN"},
      {5, "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 1000", "two ranks", "docs/gpus.md"},
      {5, "Multiple Ranks are using the same GPU/Partition", "two ranks", "docs/gpus.md"},
      {5, "", "in its state", "NCCL_DEBUG=WARN"},
      {6, "", "another rank has failed", "the other ranks"},
  };
  for (const Text& text : texts) {
    const Failure failure = nccl_failure(text.status, text.said);
    EXPECT_THAT(failure.why, StartsWith("ncclGroupEnd: nccl"));
    EXPECT_THAT(failure.why, HasSubstr(", error " + std::to_string(text.status)));
    EXPECT_THAT(failure.why, HasSubstr(text.said));
    EXPECT_THAT(failure.why, HasSubstr(text.cause));
    EXPECT_THAT(failure.fix, HasSubstr(text.fix));
  }
}

TEST(NativeError, gives_the_library_its_own_words_where_it_knows_no_more) {
  const Failure failure = cuda_failure(999, "cudaEventRecord");
  EXPECT_THAT(failure.why, StartsWith("cudaEventRecord: cudaError 999: fake, error 999, at native_error_test.cpp:"));
  EXPECT_THAT(failure.fix, IsEmpty());
}

TEST(NativeError, writes_a_whole_text) {
  EXPECT_THAT(nccl_failure(6, "socket closed").why,
              StartsWith("ncclGroupEnd: ncclRemoteError: remote process exited or there was a network error, error 6; "
                         "NCCL's last error: socket closed (another rank has failed or lost its network), at "
                         "native_error_test.cpp:"));
}

TEST(NativeError, takes_a_remote_error_for_a_victims) {
  EXPECT_EQ(nccl_failure(6, "").kind, FailureKind::peer_died);
  EXPECT_EQ(nccl_failure(2, "").kind, FailureKind::native);
}

TEST(NativeError, lets_success_and_progress_pass) {
  EXPECT_THAT(cuda_failure(0, "cudaMalloc").why, IsEmpty());
  EXPECT_THAT(nccl_failure(0, "").why, IsEmpty());
  EXPECT_THAT(nccl_failure(7, "").why, IsEmpty());
}

}  // namespace
}  // namespace lockstep::test
