// SPDX-License-Identifier: Apache-2.0
#include "formats/sharded_reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "lockstep/base/hash.hpp"

namespace lockstep {

ShardedReader::ShardedReader(const std::string& what, ShardLayout layout) : layout_(std::move(layout)) {
  std::int64_t end = 0;
  for (const auto count : layout_.samples) {
    if (__builtin_add_overflow(end, count, &end)) {
      throw DataError(
          {.what = what, .why = "its shards claim more samples than can be counted", .fix = "copy the data set again"});
    }
    ends_.push_back(end);
  }
}

std::string ShardedReader::fingerprint() const { return hash_of_text(layout_.identity); }

ShardedReader::Place ShardedReader::locate(std::int64_t sample) const {
  if (sample < 0 || sample >= samples()) {
    throw UsageError({.what = fmt::format("sample {}", sample), .why = fmt::format("there are {} samples", samples())});
  }
  const auto shard = static_cast<std::size_t>(std::ranges::upper_bound(ends_, sample) - ends_.begin());
  return {.shard = shard, .row = sample - (ends_[shard] - layout_.samples[shard])};
}

std::string ShardedReader::describe(std::int64_t sample) const {
  const auto [shard, row] = locate(sample);
  return fmt::format("{}, sample {}", layout_.names[shard], row);
}

void clear(Record& record, std::size_t fields) {
  record.fields.assign(fields, {});
  record.buffer.clear();
  record.keeps.clear();
}

std::vector<std::size_t> select_fields(const std::string& what, const std::vector<std::string>& all,
                                       const std::vector<std::string>& wanted) {
  std::vector<std::size_t> places(wanted.empty() ? all.size() : wanted.size());
  if (wanted.empty()) {
    std::iota(places.begin(), places.end(), std::size_t{0});
    return places;
  }
  std::ranges::transform(wanted, places.begin(), [&](const std::string& name) {
    const auto found = std::ranges::find(all, name);
    if (found == all.end()) {
      throw DataError({.what = fmt::format("field \"{}\" of {}", name, what),
                       .why = fmt::format("it has the fields {}", fmt::join(all, ", ")),
                       .fix = "choose among them"});
    }
    return static_cast<std::size_t>(found - all.begin());
  });
  return places;
}

bool is_local(const BlobStore& store) noexcept { return store.location().find("://") == std::string::npos; }

std::string hash_of_text(std::string_view text) { return fmt::format("{:016x}", fnv1a(text)); }

}  // namespace lockstep
