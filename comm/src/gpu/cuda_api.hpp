// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "lockstep/base/dtype.hpp"
#include "lockstep/comm/reduce_op.hpp"

// What lockstep asks of CUDA: narrow, so that all that is decided above it runs in tests without a GPU. Nothing here
// blocks the host until a stream has got somewhere: there is no call for it.
namespace lockstep::comm::gpu {

struct StreamHandle;
struct EventHandle;
using Stream = StreamHandle*;  // a cudaStream_t
using Event = EventHandle*;    // a cudaEvent_t, without timing

// cudaError_t's own numbers.
enum class CudaStatus : int { success = 0, not_ready = 600 };

struct DeviceFacts {
  std::string name{};  // "NVIDIA H100 80GB HBM3"
  std::string uuid{};  // of the GPU, or of the MIG slice: "GPU-…", "MIG-…"
  int multiprocessors = 0;
  std::size_t memory_bytes = 0;
};

// output = scale · reduction of `inputs` arrays that lie `stride_bytes` apart, added up as `combines` says; see
// reduce_slice() in kernels.hpp, whose bits these are.
struct ReduceSlices {
  const std::byte* first = nullptr;
  std::size_t stride_bytes = 0;
  std::span<const int> combines{};  // one for each input, at most kMostInputs
  std::int64_t elements = 0;
  DType dtype = DType::float32;
  ReduceOp op = ReduceOp::sum;
  double scale = 1.0;
  std::byte* output = nullptr;  // overlaps no input
};
inline constexpr std::size_t kMostInputs = 1024;

// to = from · scale + 0, converted: the product and the sum in float32 (float64 where `to` or `from` is), rounded once.
// With `add`, to = to + (from · scale). Floats only.
struct ScaledCopy {
  const void* from = nullptr;
  void* to = nullptr;
  std::int64_t elements = 0;
  DType from_dtype = DType::float32;
  DType to_dtype = DType::float32;
};

struct FloatRange {
  void* data = nullptr;
  std::int64_t elements = 0;
  DType dtype = DType::float32;
};

// Multiplies all ranges by `scale` in place; *non_finite becomes 1 if a result is not finite (else it stays);
// *squared_norm becomes the sum of the squares of all results. All on the device; the order of the sum is that of
// reference_unscale().
struct Unscale {
  std::span<const FloatRange> ranges{};
  const float* scale = nullptr;
  float* non_finite = nullptr;
  double* squared_norm = nullptr;
  std::byte* scratch = nullptr;  // unscale_scratch_bytes(ranges)
};

// Every call returns cudaError_t's number, and has cleared CUDA's last error. Calls concern the device of `bind`, from
// any thread of this process.
class CudaApi {
 public:
  virtual ~CudaApi() = default;
  [[nodiscard]] virtual std::string text(CudaStatus status) const = 0;  // "cudaErrorMemoryAllocation: out of memory"

  [[nodiscard]] virtual CudaStatus device_count(int& count) = 0;
  [[nodiscard]] virtual CudaStatus facts(int device, DeviceFacts& facts) = 0;
  // Makes it the device of the calling thread; LibTorch's too.
  [[nodiscard]] virtual CudaStatus bind(int device) = 0;

  [[nodiscard]] virtual Stream current_stream(int device) = 0;         // that of this thread's LibTorch
  [[nodiscard]] virtual CudaStatus create_stream(Stream& stream) = 0;  // non-blocking, of the highest priority
  [[nodiscard]] virtual CudaStatus destroy_stream(Stream stream) = 0;
  [[nodiscard]] virtual bool capturing(Stream stream) = 0;  // into a CUDA graph

  [[nodiscard]] virtual CudaStatus create_event(Event& event) = 0;
  [[nodiscard]] virtual CudaStatus destroy_event(Event event) = 0;
  [[nodiscard]] virtual CudaStatus record(Event event, Stream stream) = 0;
  [[nodiscard]] virtual CudaStatus make_wait(Stream stream, Event event) = 0;  // the stream, not the host
  [[nodiscard]] virtual CudaStatus query(Event event) = 0;                     // success or not_ready

  [[nodiscard]] virtual CudaStatus allocate(std::byte*& memory, std::size_t bytes) = 0;  // may wait for the device
  [[nodiscard]] virtual CudaStatus free(std::byte* memory) = 0;                          // may wait for the device
  [[nodiscard]] virtual CudaStatus allocate_pinned(std::byte*& memory, std::size_t bytes) = 0;
  [[nodiscard]] virtual CudaStatus free_pinned(std::byte* memory) = 0;
  // Between the device and pinned memory, either way, or on the device.
  [[nodiscard]] virtual CudaStatus copy(void* to, const void* from, std::size_t bytes, Stream stream) = 0;
  [[nodiscard]] virtual CudaStatus fill_zero(void* memory, std::size_t bytes, Stream stream) = 0;

  // Our own kernels, queued on the stream.
  [[nodiscard]] virtual bool has_kernels() const = 0;  // they were compiled, for this device
  [[nodiscard]] virtual CudaStatus reduce_slices(const ReduceSlices& call, Stream stream) = 0;
  [[nodiscard]] virtual CudaStatus scaled_copy(std::span<const ScaledCopy> copies, double scale, bool add,
                                               Stream stream) = 0;
  [[nodiscard]] virtual CudaStatus unscale(const Unscale& call, Stream stream) = 0;
};

}  // namespace lockstep::comm::gpu
