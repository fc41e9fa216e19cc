// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

// One field of the samples of a batch. Every tensor starts at a 64-byte boundary.
struct Column {
  std::string name;
  at::Tensor values;  // [samples, …]; ragged: [rows of all samples, …]
  at::Tensor offsets;  // ragged: int64 [samples + 1], sample i has the rows offsets[i] … offsets[i+1]−1; else undefined
};

// Where a sample of a batch comes from.
struct SampleId {
  std::int32_t source = 0;  // by its place in DataLoader::sources()
  std::int64_t pass = 0;    // how often the source was gone through before
  std::int64_t sample = 0;  // of its data set
  friend bool operator==(const SampleId&, const SampleId&) = default;
};

struct Batch {
  at::Tensor data;  // the fields `data` and `target`, where the data set has them: [samples, …]
  at::Tensor target;
  std::vector<Column> columns;  // all fields, as in Dataset::fields()
  std::vector<SampleId> ids;    // of each sample

  // The values of a field. Throws UsageError naming the fields there are.
  [[nodiscard]] const at::Tensor& operator[](std::string_view name) const { return column(name).values; }
  [[nodiscard]] const Column& column(std::string_view name) const;
};

// Local. A ragged column as one dense tensor: [samples, rows of the longest, …], `value` where a sample has fewer.
[[nodiscard]] at::Tensor padded(const Column& column, double value = 0.0);

}  // namespace lockstep
