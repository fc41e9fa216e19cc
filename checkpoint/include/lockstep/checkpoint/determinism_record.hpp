// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace lockstep {

inline constexpr const char* kCpuDevice = "cpu";

// The layout and arithmetic that bits depend on; the same block is in run.json.
struct DeterminismRecord {
  int micro_batches = 1;
  int intra_op_threads = 1;
  std::string libtorch;
  std::string cpu_capability;
  std::string device = kCpuDevice;  // or the name of the GPU that computes
  friend bool operator==(const DeterminismRecord&, const DeterminismRecord&) = default;
};

}  // namespace lockstep
