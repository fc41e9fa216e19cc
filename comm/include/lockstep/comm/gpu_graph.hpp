// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace lockstep::comm::gpu {

// A CUDA graph with LibTorch's memory pool and generators (at::cuda::CUDAGraph). Throws what LibTorch throws.
class Graph {
 public:
  virtual ~Graph() = default;
  // Between the two, what this thread and autograd's queue on the current stream, which must not be the default one, is
  // recorded and not run.
  virtual void begin_capture() = 0;
  virtual void end_capture() = 0;
  virtual void replay() = 0;  // queues it on the current stream
};

}  // namespace lockstep::comm::gpu
