// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace lockstep {

// Samples stacked along a new first dimension. Every tensor starts at a 64-byte boundary.
struct Batch {
  at::Tensor data;    // [samples, …]
  at::Tensor target;  // [samples, …]
};

// A fixed set of samples with random access. Thread-safe after construction.
class Dataset {
 public:
  virtual ~Dataset() = default;
  [[nodiscard]] virtual std::int64_t samples() const noexcept = 0;
  // Changes when the content changes; a run does not resume on other data.
  [[nodiscard]] virtual std::string fingerprint() const = 0;
  // Local. The samples at `indices`, in that order. Throws DataError naming file and sample.
  [[nodiscard]] virtual Batch read(std::span<const std::int64_t> indices) const = 0;
};

// Local. A folder of shards as docs/dataset_format.md describes it (index.json and HDF5 files).
// Throws DataError naming the folder or file: missing, not a data set, of another size than the index says.
[[nodiscard]] std::shared_ptr<const Dataset> open_dataset(const std::filesystem::path& folder);

}  // namespace lockstep
