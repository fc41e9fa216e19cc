// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "gpu/scaled_lanes.hpp"

// Many arrays in one launch: a block works on one chunk of one of them. Which one it finds in a table that travels with
// the launch, so that no device memory is allocated.
namespace lockstep::comm::gpu {

inline constexpr std::int64_t kChunk = kUnscaleChunk;  // elements that a block works on
inline constexpr int kBlockThreads = kUnscaleLanes;
inline constexpr int kTableRanges = 96;  // the parameters of a launch may take 4 KiB

template <class Range>
struct RangeTable {
  static_assert(sizeof(Range) <= 32);
  Range range[kTableRanges];
  std::int64_t block_end[kTableRanges];  // behind the last of its blocks
  int count = 0;

  [[nodiscard]] std::int64_t blocks() const { return count == 0 ? 0 : block_end[count - 1]; }

#ifdef __CUDACC__
  // The range of this block, and where in the range its elements begin.
  __device__ const Range& find(std::int64_t& begin) const {
    int first = 0;
    for (int last = count - 1; first < last;) {
      const int middle = (first + last) / 2;
      if (block_end[middle] <= blockIdx.x) {
        first = middle + 1;
      } else {
        last = middle;
      }
    }
    begin = (blockIdx.x - (first == 0 ? 0 : block_end[first - 1])) * kChunk;
    return range[first];
  }
#endif
};

// Fills tables and passes each to `launch(table, blocks)`, the last in flush(). Stops at the first error.
template <class Range, class Launch>
class TableLauncher {
 public:
  explicit TableLauncher(const Launch& launch) : launch_(launch) {}

  void add(const Range& range) {
    if (range.elements <= 0) return;
    table_.range[table_.count] = range;
    table_.block_end[table_.count] = table_.blocks() + chunks_of(range.elements, kChunk);
    if (++table_.count == kTableRanges) flush();
  }

  void flush() {
    if (table_.count > 0 && status_ == cudaSuccess) {
      launch_(table_, static_cast<unsigned>(table_.blocks()));
      status_ = cudaGetLastError();
    }
    table_.count = 0;
  }

  [[nodiscard]] cudaError_t status() const { return status_; }

 private:
  Launch launch_;
  RangeTable<Range> table_;
  cudaError_t status_ = cudaSuccess;
};

LOCKSTEP_HOST_DEVICE inline bool is_aligned(const void* memory, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(memory) % bytes == 0;
}

}  // namespace lockstep::comm::gpu
