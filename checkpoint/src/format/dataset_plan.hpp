// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "format/manifest.hpp"
#include "lockstep/checkpoint/contents.hpp"

namespace lockstep {

// A dataset to be written: its record, without the offset that libhdf5 will choose, and its bytes in the caller's
// memory.
struct PlannedDataset {
  DatasetRecord record;
  std::span<const std::byte> data;
};

// All tensors and blobs of `contents`, in bytewise order of names.
// Throws UsageError for contents that cannot be stored: bad or double names, sizes that do not fit, sharded slices.
[[nodiscard]] std::vector<PlannedDataset> plan_datasets(const CheckpointContents& contents);

}  // namespace lockstep
