// SPDX-License-Identifier: Apache-2.0
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda.h>
#include <cuda_runtime.h>

#include <array>
#include <atomic>
#include <string_view>

#include "real_apis.hpp"
#ifdef LOCKSTEP_GPU_KERNELS
#include "kernels/kernels.hpp"
#endif

namespace lockstep::comm::gpu {
namespace {

cudaStream_t native(Stream stream) { return reinterpret_cast<cudaStream_t>(stream); }
cudaEvent_t native(Event event) { return reinterpret_cast<cudaEvent_t>(event); }

// CUDA keeps the last error for whoever asks next, which would be LibTorch, after a kernel of its own.
CudaStatus cleared(cudaError_t error) {
  if (error != cudaSuccess) (void)cudaGetLastError();
  return static_cast<CudaStatus>(error);
}

// While this lives, this thread may call what a capture of a CUDA graph forbids (a query, an allocation): such calls
// here are none that the graph should hold.
class OutsideCaptures {
 public:
  OutsideCaptures() { (void)cudaThreadExchangeStreamCaptureMode(&mode_); }
  OutsideCaptures(const OutsideCaptures&) = delete;
  OutsideCaptures& operator=(const OutsideCaptures&) = delete;
  ~OutsideCaptures() { (void)cudaThreadExchangeStreamCaptureMode(&mode_); }

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// As nvidia-smi and CUDA_VISIBLE_DEVICES write it.
std::string uuid_text(int device, const cudaDeviceProp& properties) {
  CUuuid uuid = properties.uuid;
  // From CUDA 11.4 on the driver tells the MIG slice's own, where the runtime may tell that of the GPU it is part of.
  void* symbol = nullptr;
  cudaDriverEntryPointQueryResult found{};
  const auto asked = cudaGetDriverEntryPointByVersion("cuDeviceGetUuid", &symbol, 11040, cudaEnableDefault, &found);
  if (cleared(asked) == CudaStatus::success && found == cudaDriverEntryPointSuccess) {
    CUuuid of_driver{};
    const auto get_uuid = reinterpret_cast<CUresult (*)(CUuuid*, CUdevice)>(symbol);
    if (get_uuid(&of_driver, device) == CUDA_SUCCESS) uuid = of_driver;
  }
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text = std::string_view(properties.name).find(" MIG ") != std::string_view::npos ? "MIG-" : "GPU-";
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    const auto byte = static_cast<unsigned char>(uuid.bytes[i]);
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

class RealCuda final : public CudaApi {
 public:
  std::string text(CudaStatus status) const override {
    const auto error = static_cast<cudaError_t>(status);
    return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
  }

  CudaStatus device_count(int& count) override { return cleared(cudaGetDeviceCount(&count)); }
  CudaStatus facts(int device, DeviceFacts& facts) override {
    cudaDeviceProp properties{};
    const auto status = cleared(cudaGetDeviceProperties(&properties, device));
    if (status != CudaStatus::success) return status;
    facts = {.name = properties.name,
             .uuid = uuid_text(device, properties),
             .multiprocessors = properties.multiProcessorCount,
             .memory_bytes = properties.totalGlobalMem};
    return status;
  }
  CudaStatus bind(int device) override {
    // Streams, events and memory of the first one would be taken for the second's.
    if (bound_ && device != device_) return cleared(cudaErrorDeviceAlreadyInUse);
    auto error = cudaSetDevice(device);
    if (error == cudaSuccess) error = c10::cuda::SetDevice(static_cast<c10::DeviceIndex>(device));
    if (error == cudaSuccess) device_ = device;
    bound_ = bound_ || error == cudaSuccess;
    return cleared(error);
  }

  Stream current_stream(int device) override {
    return reinterpret_cast<Stream>(c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device)).stream());
  }
  CudaStatus create_stream(Stream& stream) override {
    int least = 0;
    int greatest = 0;
    cudaStream_t created = nullptr;
    auto error = enter();
    if (error == cudaSuccess) error = cudaDeviceGetStreamPriorityRange(&least, &greatest);
    if (error == cudaSuccess) error = cudaStreamCreateWithPriority(&created, cudaStreamNonBlocking, greatest);
    stream = reinterpret_cast<Stream>(created);
    return cleared(error);
  }
  CudaStatus destroy_stream(Stream stream) override { return cleared(cudaStreamDestroy(native(stream))); }
  bool capturing(Stream stream) override {
    auto state = cudaStreamCaptureStatusNone;
    return enter() == cudaSuccess && cleared(cudaStreamIsCapturing(native(stream), &state)) == CudaStatus::success &&
           state == cudaStreamCaptureStatusActive;
  }

  CudaStatus create_event(Event& event) override {
    cudaEvent_t created = nullptr;
    auto error = enter();
    if (error == cudaSuccess) error = cudaEventCreateWithFlags(&created, cudaEventDisableTiming);
    event = reinterpret_cast<Event>(created);
    return cleared(error);
  }
  CudaStatus destroy_event(Event event) override { return cleared(cudaEventDestroy(native(event))); }
  CudaStatus record(Event event, Stream stream) override {
    // LibTorch's default stream is that of the thread's own GPU
    return entered([&] { return cudaEventRecord(native(event), native(stream)); });
  }
  CudaStatus make_wait(Stream stream, Event event) override {
    return entered([&] { return cudaStreamWaitEvent(native(stream), native(event), cudaEventWaitDefault); });
  }
  CudaStatus query(Event event) override {
    const OutsideCaptures outside;
    // else the watchdog's thread would make a context on GPU 0
    return entered([&] { return cudaEventQuery(native(event)); });
  }

  CudaStatus allocate(std::byte*& memory, std::size_t bytes) override {
    const OutsideCaptures outside;
    return entered([&] { return cudaMalloc(&memory, bytes); });
  }
  CudaStatus free(std::byte* memory) override {
    const OutsideCaptures outside;
    return entered([&] { return cudaFree(memory); });
  }
  CudaStatus allocate_pinned(std::byte*& memory, std::size_t bytes) override {
    const OutsideCaptures outside;
    return entered([&] { return cudaMallocHost(&memory, bytes); });
  }
  CudaStatus free_pinned(std::byte* memory) override {
    const OutsideCaptures outside;
    return cleared(cudaFreeHost(memory));
  }
  CudaStatus copy(void* to, const void* from, std::size_t bytes, Stream stream) override {
    return entered([&] { return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, native(stream)); });
  }
  CudaStatus fill_zero(void* memory, std::size_t bytes, Stream stream) override {
    return entered([&] { return cudaMemsetAsync(memory, 0, bytes, native(stream)); });
  }

#ifdef LOCKSTEP_GPU_KERNELS
  bool has_kernels() const override {
    int major = 0;
    const auto asked = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device_);
    return cleared(asked) == CudaStatus::success && major >= 8;
  }
  CudaStatus reduce_slices(const ReduceSlices& call, Stream stream) override {
    return entered([&] { return launch_reduce_slices(call, native(stream)); });
  }
  CudaStatus scaled_copy(std::span<const ScaledCopy> copies, double scale, bool add, Stream stream) override {
    return entered([&] { return launch_scaled_copy(copies, scale, add, native(stream)); });
  }
  CudaStatus unscale(const Unscale& call, Stream stream) override {
    return entered([&] { return launch_unscale(call, native(stream)); });
  }
#else
  bool has_kernels() const override { return false; }
  CudaStatus reduce_slices(const ReduceSlices& /*call*/, Stream /*stream*/) override { return kNoKernels; }
  CudaStatus scaled_copy(std::span<const ScaledCopy> /*copies*/, double /*scale*/, bool /*add*/,
                         Stream /*stream*/) override {
    return kNoKernels;
  }
  CudaStatus unscale(const Unscale& /*call*/, Stream /*stream*/) override { return kNoKernels; }
#endif

 private:
#ifndef LOCKSTEP_GPU_KERNELS
  static constexpr auto kNoKernels = static_cast<CudaStatus>(cudaErrorNotSupported);
#endif
  // A thread of which nobody has said otherwise is on GPU 0.
  cudaError_t enter() const {
    int current = 0;
    const auto error = cudaGetDevice(&current);
    if (error != cudaSuccess || current == device_) return error;
    return cudaSetDevice(device_);
  }

  // What `call` returns, once this thread is on our GPU.
  template <class Call>
  CudaStatus entered(const Call& call) const {
    const auto error = enter();
    return cleared(error == cudaSuccess ? call() : error);
  }

  std::atomic<int> device_{0};
  std::atomic<bool> bound_{false};
};

}  // namespace

CudaApi& real_cuda() {
  static auto* const cuda = new RealCuda;
  return *cuda;
}

}  // namespace lockstep::comm::gpu
