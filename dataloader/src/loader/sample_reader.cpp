// SPDX-License-Identifier: Apache-2.0
#include "loader/sample_reader.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "lockstep/base/error.hpp"
#include "lockstep/base/mix.hpp"
#include "lockstep/dataloader/permutation.hpp"
#include "lockstep/dataloader/records.hpp"

namespace lockstep {
namespace {

constexpr int kAttempts = 32;  // in a row: more is not a damaged sample but a damaged data set

}  // namespace

SampleReader::SampleReader(const std::vector<Source>& sources, std::vector<std::uint64_t> seeds)
    : sources_(sources), seeds_(std::move(seeds)) {}

SampleId SampleReader::read(const SampleId& id, SampleSlot& slot, std::vector<DamagedEntry>& damaged) const {
  const auto index = static_cast<std::size_t>(id.source);
  const Source& source = sources_[index];
  const auto samples = static_cast<std::uint64_t>(source.dataset->samples());
  SampleId tried = id;
  std::string why = "known from before";
  for (std::uint64_t attempt = 0; attempt < kAttempts; ++attempt) {
    if (attempt > 0) {  // by the damaged sample's number: two of them do not share their substitutes
      const Permutation order(samples, mix_bits(seeds_[index] ^ kGoldenGamma), static_cast<std::uint64_t>(id.sample));
      tried.sample = static_cast<std::int64_t>(order((attempt - 1) % samples));
    }
    if (known(tried)) continue;
    try {
      source.dataset->read({.seed = seeds_[index], .pass = tried.pass, .sample = tried.sample}, slot);
      slot.end_sample();
      return tried;
    } catch (const DamagedSample& error) {
      slot.undo_sample();
      why = error.text().why;
      damaged.push_back({.source = source.name,
                         .sample = tried.sample,
                         .why = fmt::format("{}: {}", source.dataset->describe(tried.sample), why)});
    }
  }
  throw DataError({.what = fmt::format("source \"{}\", sample {}", source.name, id.sample),
                   .why = fmt::format("it and {} others in its place are damaged, the last: {}", kAttempts - 1, why),
                   .fix = "check the data set with `lockstep data verify`, or copy it again"});
}

bool SampleReader::known(const SampleId& id) const {
  if (!any_known_.load(std::memory_order_relaxed)) return false;
  const std::lock_guard lock(mutex_);
  return known_.contains({id.source, id.sample});
}

void SampleReader::know_damaged(const std::vector<DamagedEntry>& entries) {
  const std::lock_guard lock(mutex_);
  for (const auto& entry : entries) {
    const auto source = std::ranges::find(sources_, entry.source, &Source::name);
    if (source == sources_.end()) continue;  // it was taken out of the mix
    known_.emplace(static_cast<std::int32_t>(source - sources_.begin()), entry.sample);
    any_known_.store(true, std::memory_order_relaxed);
  }
}

}  // namespace lockstep
