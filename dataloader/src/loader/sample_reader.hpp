// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "lockstep/dataloader/batch.hpp"
#include "lockstep/dataloader/source.hpp"

namespace lockstep {

// Reads samples, and lets another one of the source take the place of a damaged one: the first that is whole of a
// sequence that depends on the seed, the source and the damaged sample's number alone, so that every rank, now and
// after a resume, takes the same. Thread-safe.
class SampleReader {
 public:
  // `sources` outlives this; `seeds`: of each.
  SampleReader(const std::vector<Source>& sources, std::vector<std::uint64_t> seeds);

  // Returns what was delivered; what was found damaged is added to `damaged`. Throws DataError when dozens of samples
  // in a row are damaged, and what Dataset::read throws beside DamagedSample.
  SampleId read(const SampleId& id, SampleSlot& slot, std::vector<DamagedEntry>& damaged) const;

  void prefetch(const SampleId& id) const {
    sources_[static_cast<std::size_t>(id.source)].dataset->prefetch(id.sample);
  }

  // Samples that are not tried again.
  void know_damaged(const std::vector<DamagedEntry>& entries);

 private:
  [[nodiscard]] bool known(const SampleId& id) const;

  const std::vector<Source>& sources_;
  const std::vector<std::uint64_t> seeds_;
  std::atomic<bool> any_known_{false};  // most runs never have one, and reading then takes no lock
  mutable std::mutex mutex_;
  std::set<std::pair<std::int32_t, std::int64_t>> known_;  // guarded by mutex_; source and sample
};

}  // namespace lockstep
