// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "lockstep/dataloader/sample.hpp"

namespace lockstep {

[[nodiscard]] at::Tensor empty_tensor(const FieldInfo& field, std::vector<std::int64_t> shape, bool pinned);

// The tensors that batches are read into. One that nobody else holds any more is used again: its pages are there, and
// the first touch of fresh memory is several times slower than reading the samples. Not thread-safe.
class BatchMemory {
 public:
  // `capacity`: samples of the largest batch; `spare`: tensors of a field that are kept at most.
  BatchMemory(const std::vector<FieldInfo>& fields, std::int64_t capacity, std::size_t spare, bool pinned);

  // [samples, …] of a field that is not ragged; contents undefined.
  [[nodiscard]] at::Tensor take(std::size_t field, std::int64_t samples);

 private:
  const std::vector<FieldInfo>& fields_;
  const std::int64_t capacity_;
  const std::size_t spare_;
  const bool pinned_;
  std::vector<std::vector<at::Tensor>> kept_;  // of each field
};

}  // namespace lockstep
