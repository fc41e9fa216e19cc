// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "lockstep/base/dtype.hpp"

namespace lockstep {

// One field of every sample, as stored.
struct FieldSchema {
  std::string name;  // "data", "target"
  DType dtype = DType::uint8;
  std::vector<std::int64_t> shape{};  // of one sample: [1, 28, 28]; empty: a number
  // Where `delivered` differs from dtype: delivered = stored · scale + offset.
  DType delivered = DType::float32;
  double scale = 1.0;
  double offset = 0.0;
};

struct FieldColumn {
  FieldSchema schema;
  std::span<const std::byte> bytes;  // all samples, row-major
};

// Local. Writes `samples` samples as `shards` HDF5 files of nearly equal size plus index.json into `folder`
// (docs/dataset_format.md). Everything is written to a temporary folder beside it, fsynced and renamed, so that
// `folder` either does not exist or is complete. Throws UsageError if `folder` exists or a column's size does not fit,
// IoError if writing fails.
void write_shards(const std::filesystem::path& folder, std::int64_t samples, std::span<const FieldColumn> columns,
                  int shards);

}  // namespace lockstep
