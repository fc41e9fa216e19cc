// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lockstep/dataloader/sample.hpp"

namespace lockstep {

// A fixed set of samples with random access. Thread-safe after construction. A program's own data is one more of these.
class Dataset {
 public:
  virtual ~Dataset() = default;
  [[nodiscard]] virtual std::int64_t samples() const noexcept = 0;
  // Changes when the content changes; a run does not resume on other data.
  [[nodiscard]] virtual std::string fingerprint() const = 0;
  // The fields of every sample, as delivered.
  [[nodiscard]] virtual const std::vector<FieldInfo>& fields() const noexcept = 0;
  // Local. Writes sample key.sample to its place in a batch, field by field of fields(). The same bits for the same
  // key, on any thread and rank. Throws DamagedSample, which costs this sample, and DataError or IoError, which end the
  // run.
  virtual void read(const SampleKey& key, SampleSlot& slot) const = 0;
  // Local. A hint that this sample will be read next but a few; begins to bring its bytes near and returns at once.
  virtual void prefetch(std::int64_t /*sample*/) const {}
  // "shard-00003.tar, sample 17", for messages.
  [[nodiscard]] virtual std::string describe(std::int64_t sample) const { return "sample " + std::to_string(sample); }
};

// Local. A folder of shards as docs/dataset_format.md describes it (index.json and HDF5 files), with the fields `data`
// and `target`. Throws DataError naming the folder or file: missing, not a data set, of another size than the index
// says.
[[nodiscard]] std::shared_ptr<const Dataset> open_dataset(const std::filesystem::path& folder);

}  // namespace lockstep
