// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lockstep/base/dtype.hpp"

namespace lockstep {

// A run of elements that a rank holds, without its bytes.
struct HeldSlice {
  std::string name;
  DType dtype = DType::float32;
  std::vector<std::int64_t> global_shape;
  std::int64_t first_element = 0;
  std::int64_t elements = 0;
  friend bool operator==(const HeldSlice&, const HeldSlice&) = default;
};

// Who writes what: each element once.
struct WritePlan {
  struct Piece {
    int writer = 0;
    std::vector<int> holders{};  // ranks that have it, ascending, the writer among them
    std::int64_t first_element = 0;
    std::int64_t elements = 0;
  };
  struct Tensor {
    std::string name;
    DType dtype = DType::float32;
    std::vector<std::int64_t> shape;
    std::vector<Piece> pieces;  // ascending, covering the tensor; none if it is empty
  };
  std::vector<Tensor> tensors;  // bytewise order of names
};

// Pure. `held[r]` is what rank r holds, in any order. Bytes are spread so that the most that a rank writes is at most
// 1.05 times the mean, wherever who holds what allows it; few tensors are cut. A
// piece lies within one slice of each of its holders. Throws UsageError naming tensor and
// ranks: elements that no rank holds, ranks that disagree on dtype or shape, a bad name, a name that lies below
// another.
[[nodiscard]] WritePlan plan_writes(std::span<const std::vector<HeldSlice>> held);

}  // namespace lockstep
