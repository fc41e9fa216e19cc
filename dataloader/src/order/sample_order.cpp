// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/sample_order.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "lockstep/base/error.hpp"
#include "lockstep/base/mix.hpp"
#include "lockstep/dataloader/permutation.hpp"

namespace lockstep {
namespace {

std::int64_t at(const Permutation& permutation, std::int64_t position) noexcept {
  return static_cast<std::int64_t>(permutation(static_cast<std::uint64_t>(position)));
}

Permutation permutation_of(std::int64_t size, std::uint64_t seed, std::int64_t stream) noexcept {
  return {static_cast<std::uint64_t>(size), seed, static_cast<std::uint64_t>(stream)};
}

class InOrder final : public SampleOrder {
 public:
  explicit InOrder(std::int64_t samples) : samples_(samples) {}
  [[nodiscard]] std::int64_t samples_per_pass() const noexcept override { return samples_; }

  [[nodiscard]] std::unique_ptr<const PassOrder> pass(std::uint64_t /*seed*/, std::int64_t /*pass*/) const override {
    class Pass final : public PassOrder {
      [[nodiscard]] std::int64_t operator()(std::int64_t position) const override { return position; }
    };
    return std::make_unique<Pass>();
  }

 private:
  const std::int64_t samples_;
};

class Shuffled final : public SampleOrder {
 public:
  explicit Shuffled(std::int64_t samples) : samples_(samples) {}
  [[nodiscard]] std::int64_t samples_per_pass() const noexcept override { return samples_; }

  [[nodiscard]] std::unique_ptr<const PassOrder> pass(std::uint64_t seed, std::int64_t pass) const override {
    class Pass final : public PassOrder {
     public:
      explicit Pass(const Permutation& permutation) : permutation_(permutation) {}
      [[nodiscard]] std::int64_t operator()(std::int64_t position) const override { return at(permutation_, position); }

     private:
      const Permutation permutation_;
    };
    return std::make_unique<Pass>(permutation_of(samples_, seed, pass));
  }

 private:
  const std::int64_t samples_;
};

// A pass over shards in random order, cut into windows of consecutive ones; each window is shuffled as a whole.
class ShardPass final : public PassOrder {
 public:
  ShardPass(const std::vector<std::int64_t>& first_samples, int window, std::uint64_t seed, std::int64_t pass) {
    const auto shards = std::ssize(first_samples) - 1;
    const Permutation order = permutation_of(shards, seed, pass);
    std::int64_t position = 0;
    for (std::int64_t i = 0; i < shards; ++i) {
      if (i % window == 0) windows_.push_back({.first_piece = pieces_.size(), .first_position = position});
      const auto shard = static_cast<std::size_t>(at(order, i));
      pieces_.push_back({.first_position = position, .first_sample = first_samples[shard]});
      position += first_samples[shard + 1] - first_samples[shard];
    }
    pass_seed_ = mix_bits(mix_bits(seed + kGoldenGamma) + static_cast<std::uint64_t>(pass));
    end_ = position;
  }

  [[nodiscard]] std::int64_t operator()(std::int64_t position) const override {
    const auto window = std::prev(std::ranges::upper_bound(windows_, position, {}, &Window::first_position));
    const auto after = std::next(window);
    const std::int64_t end = after == windows_.end() ? end_ : after->first_position;
    const std::int64_t shuffled =
        window->first_position + at(permutation_of(end - window->first_position, pass_seed_, window - windows_.begin()),
                                    position - window->first_position);
    const auto piece = std::prev(std::ranges::upper_bound(pieces_, shuffled, {}, &Piece::first_position));
    return piece->first_sample + shuffled - piece->first_position;
  }

 private:
  struct Piece {  // a shard, where it lies in the pass
    std::int64_t first_position;
    std::int64_t first_sample;
  };
  struct Window {
    std::size_t first_piece;
    std::int64_t first_position;
  };
  std::vector<Piece> pieces_;
  std::vector<Window> windows_;
  std::uint64_t pass_seed_ = 0;
  std::int64_t end_ = 0;
};

class ShuffledShards final : public SampleOrder {
 public:
  ShuffledShards(std::vector<std::int64_t> shard_samples, int window) : window_(window) {
    std::erase(shard_samples, 0);
    first_samples_.push_back(0);
    std::partial_sum(shard_samples.begin(), shard_samples.end(), std::back_inserter(first_samples_));
  }
  [[nodiscard]] std::int64_t samples_per_pass() const noexcept override { return first_samples_.back(); }

  [[nodiscard]] std::unique_ptr<const PassOrder> pass(std::uint64_t seed, std::int64_t pass) const override {
    return std::make_unique<ShardPass>(first_samples_, window_, seed, pass);
  }

 private:
  std::vector<std::int64_t> first_samples_;  // of each shard that has any, and the end
  const int window_;
};

class Balanced final : public SampleOrder {
 public:
  explicit Balanced(std::vector<std::vector<std::int64_t>> members) : members_(std::move(members)) {
    for (const auto& of_class : members_) samples_ += std::ssize(of_class);
  }
  [[nodiscard]] std::int64_t samples_per_pass() const noexcept override { return samples_; }

  [[nodiscard]] std::unique_ptr<const PassOrder> pass(std::uint64_t seed, std::int64_t pass) const override {
    return std::make_unique<Pass>(members_, seed, pass * samples_);
  }

 private:
  // The turn of a position is counted over all passes, so that no class starts again with a pass.
  class Pass final : public PassOrder {
   public:
    Pass(const std::vector<std::vector<std::int64_t>>& members, std::uint64_t seed, std::int64_t first_turn)
        : members_(members), seed_(seed), first_turn_(first_turn) {}

    [[nodiscard]] std::int64_t operator()(std::int64_t position) const override {
      const std::int64_t turn = first_turn_ + position;
      const auto chosen = static_cast<std::size_t>(turn % std::ssize(members_));
      const std::int64_t of_class = turn / std::ssize(members_);
      const auto& members = members_[chosen];
      const Permutation order =
          permutation_of(std::ssize(members), mix_bits(seed_ + chosen), of_class / std::ssize(members));
      return members[static_cast<std::size_t>(at(order, of_class % std::ssize(members)))];
    }

   private:
    const std::vector<std::vector<std::int64_t>>& members_;
    const std::uint64_t seed_;
    const std::int64_t first_turn_;
  };

  const std::vector<std::vector<std::int64_t>> members_;
  std::int64_t samples_ = 0;
};

void require(bool ok, const char* order, const std::string& why) {
  if (!ok) throw UsageError({.what = fmt::format("order of samples: {}", order), .why = why});
}

}  // namespace

std::shared_ptr<const SampleOrder> in_order(std::int64_t samples) { return std::make_shared<InOrder>(samples); }

std::shared_ptr<const SampleOrder> shuffled(std::int64_t samples) { return std::make_shared<Shuffled>(samples); }

std::shared_ptr<const SampleOrder> shuffled_shards(std::vector<std::int64_t> shard_samples, int window) {
  require(window >= 1, "shards", fmt::format("the window is {} shards, not at least 1", window));
  return std::make_shared<ShuffledShards>(std::move(shard_samples), window);
}

std::shared_ptr<const SampleOrder> balanced(std::vector<std::vector<std::int64_t>> members) {
  require(!members.empty(), "balanced", "there is no class");
  for (const auto& of_class : members) require(!of_class.empty(), "balanced", "a class has no members");
  return std::make_shared<Balanced>(std::move(members));
}

}  // namespace lockstep
