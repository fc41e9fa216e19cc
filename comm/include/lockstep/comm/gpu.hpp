// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "lockstep/comm/communicator.hpp"

// Collectives of memory on GPUs. NCCL and CUDA are loaded when the first Gpu is opened, not before: the same program
// runs on machines that have neither.
namespace lockstep {

namespace comm::gpu {
class Device;
class Graph;
struct Libraries;
}  // namespace comm::gpu

// The GPU of one rank. Copies are the same GPU.
class Gpu {
 public:
  // Local. Loads CUDA, NCCL and libtorch_cuda, and makes GPU `index` of those visible to this process that of the
  // calling thread. Throws UsageError: this lockstep has no GPU part, a library is missing or of another version than
  // LibTorch's, there is no such GPU.
  [[nodiscard]] static Gpu open(int index);
  // Local. GPUs that this process may use; 0 where there is no driver. Loads nothing more than it must.
  [[nodiscard]] static int count();
  explicit Gpu(std::shared_ptr<comm::gpu::Device> device);  // of mocks, in tests

  [[nodiscard]] int index() const noexcept;
  [[nodiscard]] const std::string& name() const noexcept;  // "NVIDIA H100 80GB HBM3"
  [[nodiscard]] const std::string& uuid() const noexcept;
  [[nodiscard]] c10::Device torch_device() const noexcept;  // where LibTorch's tensors on it are: cuda:0
  [[nodiscard]] const std::shared_ptr<comm::gpu::Device>& device() const noexcept { return device_; }

  // Local. An empty CUDA graph (gpu_graph.hpp).
  [[nodiscard]] std::unique_ptr<comm::gpu::Graph> make_graph() const;

  // Queued on the current stream of the calling thread; no call waits for the device.
  // to = from · scale + 0, or to + from · scale; converted and rounded once. Same shape and strides, dense, floats.
  void scaled_copy(const at::Tensor& to, const at::Tensor& from, double scale, bool add = false) const;
  // Multiplies `tensors` by the float32 scalar `scale`, in place. The float32 scalar `non_finite` becomes 1 if a result
  // is not finite, the float64 scalar `squared_norm` the sum of all squares, in an order that depends on the sizes
  // alone. All on this GPU.
  void unscale(std::span<const at::Tensor> tensors, const at::Tensor& scale, const at::Tensor& non_finite,
               const at::Tensor& squared_norm) const;

 private:
  std::shared_ptr<comm::gpu::Device> device_;
};

// How the memory of GPUs travels.
enum class GpuTransport {
  automatic,  // nccl where it can be, else staged
  nccl,
  staged,  // through pinned memory of the host and `world`'s own backend: without NCCL, or several ranks on one GPU
};

struct GpuTransportChoice {
  GpuTransport transport = GpuTransport::nccl;
  std::string why{};  // why staged: for the log, once
};

// Collective. A communicator of `world`'s ranks for memory on their GPUs. Its calls are queued on a stream of their own
// behind what the calling thread has queued on its current one; Work::wait() makes the current stream wait and returns:
// no call waits for the device, except barrier(). Tensors are on this rank's GPU. Throws UsageError where `transport`
// asks for nccl and a rank cannot, naming it and why.
//
// Over nccl, what ranks call is compared while the device works, within a fraction of a second. Messages keep their
// place between collectives: a row of sends and receives goes together when one of them is waited for or the next
// collective is called, and none is kept for a receiver that comes later.
[[nodiscard]] Communicator gpu_communicator(Communicator& world, const Gpu& gpu, std::string name,
                                            GpuTransport transport = GpuTransport::automatic);

// Collective. What `automatic` takes: staged if a rank lacks NCCL or our kernels, or two ranks share a GPU and NCCL was
// not told how (docs/gpus.md).
[[nodiscard]] GpuTransportChoice choose_transport(Communicator& world, const Gpu& gpu);

// Pure. The GPU of the rank that is `local_rank` of `local_ranks` on its host, where the launcher lets each see
// `visible` ones: its own number, modulo. Throws UsageError where there is none.
[[nodiscard]] int gpu_of_local_rank(int local_rank, int visible);

}  // namespace lockstep
