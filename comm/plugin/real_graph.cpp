// SPDX-License-Identifier: Apache-2.0
#include <ATen/Context.h>
#include <ATen/cuda/CUDAGraph.h>

#include "real_apis.hpp"

namespace lockstep::comm::gpu {
namespace {

class RealGraph final : public Graph {
 public:
  // Thread-local: what the watchdog and the loader's threads call meanwhile does not end the capture. LibTorch
  // registers its default generator itself.
  void begin_capture() override { graph_.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal); }
  void end_capture() override { graph_.capture_end(); }
  void replay() override { graph_.replay(); }

 private:
  at::cuda::CUDAGraph graph_;
};

class RealGraphs final : public GraphApi {
 public:
  std::unique_ptr<Graph> make_graph() override {
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);  // else the allocator may not be there yet
    return std::make_unique<RealGraph>();
  }
};

}  // namespace

GraphApi& real_graphs() {
  static auto* const graphs = new RealGraphs;
  return *graphs;
}

}  // namespace lockstep::comm::gpu
