// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace lockstep {

// The order of one pass over a source.
class PassOrder {
 public:
  virtual ~PassOrder() = default;
  [[nodiscard]] virtual std::int64_t operator()(
      std::int64_t position) const = 0;  // the sample at a position of the pass
};

// In which order a source gives its samples, pass after pass: a pure function of (seed, pass, position). Thread-safe.
class SampleOrder {
 public:
  virtual ~SampleOrder() = default;
  [[nodiscard]] virtual std::int64_t samples_per_pass() const noexcept = 0;
  [[nodiscard]] virtual std::unique_ptr<const PassOrder> pass(std::uint64_t seed, std::int64_t pass) const = 0;
};

// 0, 1, 2, …
[[nodiscard]] std::shared_ptr<const SampleOrder> in_order(std::int64_t samples);

// Every sample once a pass, at random: Permutation(samples, seed, pass). O(1) memory.
[[nodiscard]] std::shared_ptr<const SampleOrder> shuffled(std::int64_t samples);

// Every sample once a pass, at random among `window` shards at a time, the shards themselves in a new random order
// every pass: only that many shards need to be at hand, so that a remote set larger than the cache is read once a pass.
// O(shards) memory.
[[nodiscard]] std::shared_ptr<const SampleOrder> shuffled_shards(std::vector<std::int64_t> shard_samples, int window);

// Classes take turns; each gives its members at random, every one once before any of it again. A pass has as many
// samples as the classes together, so that members of small classes come several times. `members`: of each class, not
// empty.
[[nodiscard]] std::shared_ptr<const SampleOrder> balanced(std::vector<std::vector<std::int64_t>> members);

}  // namespace lockstep
