// SPDX-License-Identifier: Apache-2.0
// One stream of samples from several sources: the same at every world size and number of threads, resumed at any step,
// with nothing lost or repeated, whatever becomes of sources and weights.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <random>

#include "lockstep/base/error.hpp"
#include "lockstep/dataloader/data_loader.hpp"
#include "lockstep/dataloader/records.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::ThrowsMessage;

// Sample i of source s: `data` is [s, i, random], `points` has i mod 4 rows of 2, all i.
class Numbered final : public Dataset {
 public:
  Numbered(std::int64_t source, std::int64_t samples, std::vector<std::int64_t> damaged = {})
      : source_(source), samples_(samples), damaged_(std::move(damaged)) {}
  [[nodiscard]] std::int64_t samples() const noexcept override { return samples_; }
  [[nodiscard]] std::string fingerprint() const override {
    return std::to_string(source_) + "/" + std::to_string(samples_);
  }
  [[nodiscard]] const std::vector<FieldInfo>& fields() const noexcept override { return fields_; }
  void read(const SampleKey& key, SampleSlot& slot) const override {
    const auto points = slot.ragged(1, key.sample % 4);
    std::fill_n(reinterpret_cast<std::int32_t*>(points.data()), 2 * (key.sample % 4),
                static_cast<std::int32_t>(key.sample));
    if (std::ranges::find(damaged_, key.sample) != damaged_.end())
      throw DamagedSample({.what = "", .why = "a bit flipped"});
    SampleRandom random(key);
    const std::array<std::int64_t, 3> values{source_, key.sample, random.bits()};
    std::memcpy(slot.fixed(0).data(), values.data(), sizeof(values));
  }

 private:
  const std::int64_t source_;
  const std::int64_t samples_;
  const std::vector<std::int64_t> damaged_;
  const std::vector<FieldInfo> fields_{{.name = "data", .dtype = DType::int64, .shape = {3}},
                                       {.name = "points", .dtype = DType::int32, .shape = {-1, 2}}};
};

Source source(std::string name, std::int64_t number, std::int64_t samples, std::optional<double> weight = std::nullopt,
              std::vector<std::int64_t> damaged = {}) {
  return {.name = std::move(name),
          .dataset = std::make_shared<Numbered>(number, samples, std::move(damaged)),
          .weight = weight};
}

std::vector<Source> three() { return {source("a", 0, 50, 2.0), source("b", 1, 23, 1.0), source("c", 2, 11, 0.5)}; }

// All that a micro-batch says of its samples: ids, data, points.
struct Seen {
  std::vector<SampleId> ids;
  std::vector<std::int64_t> data;
  std::vector<std::int32_t> points;
  friend bool operator==(const Seen&, const Seen&) = default;
};

void append(Seen& seen, const LoadedStep& step) {
  for (const auto& part : step.micro_batches) {
    if (part.samples == 0) continue;
    const Batch& batch = part.batch;
    seen.ids.insert(seen.ids.end(), batch.ids.begin(), batch.ids.end());
    const auto* data = batch.data.const_data_ptr<std::int64_t>();
    seen.data.insert(seen.data.end(), data, data + batch.data.numel());
    const auto* points = batch["points"].const_data_ptr<std::int32_t>();
    seen.points.insert(seen.points.end(), points, points + batch["points"].numel());
    const auto* offsets = batch.column("points").offsets.const_data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < part.samples; ++i) EXPECT_EQ(offsets[i + 1] - offsets[i], data[3 * i + 1] % 4);
  }
}

Seen take(DataLoader& loader, std::int64_t steps) {
  Seen seen;
  for (std::int64_t i = 0; i < steps; ++i) append(seen, loader.next());
  return seen;
}

LoaderOptions options(Range owned = {0, 24}, int threads = 1) {
  return {.seed = 9, .global_batch = 30, .micro_batches = 24, .owned = owned, .threads = threads, .damaged_budget = 5};
}

TEST(MixedLoader, gives_the_same_stream_at_every_world_size_and_number_of_threads) {
  constexpr int kSteps = 12;  // four epochs of 84 samples
  DataLoader alone(three(), options());
  const Seen expected = take(alone, kSteps);
  for (const int world_size : {1, 2, 3, 4, 5, 6, 7, 8}) {
    for (const int threads : {1, 2, 4}) {
      std::vector<std::unique_ptr<DataLoader>> ranks;
      for (int rank = 0; rank < world_size; ++rank) {
        ranks.push_back(std::make_unique<DataLoader>(three(), options(even_split(24, world_size, rank), threads)));
      }
      Seen together;
      for (int step = 0; step < kSteps; ++step) {
        for (const auto& rank : ranks) append(together, rank->next());
      }
      ASSERT_EQ(together, expected) << "world size " << world_size << ", " << threads << " threads";
      for (const auto& rank : ranks) ASSERT_EQ(rank->state(), alone.state());
    }
  }
}

TEST(MixedLoader, resumed_at_every_step_of_a_thousand_samples_at_another_world_size_gives_the_same_rest) {
  const auto sources = [] { return std::vector<Source>{source("a", 0, 400), source("b", 1, 501), source("c", 2, 99)}; };
  LoaderOptions all = options();
  all.global_batch = 7;
  all.micro_batches = 8;
  all.owned = {0, 8};
  constexpr std::int64_t kSteps = 143 + 5;  // into the second epoch
  DataLoader whole(sources(), all);
  std::vector<std::string> states;
  std::vector<Seen> steps;
  for (std::int64_t i = 0; i < kSteps; ++i) {
    states.push_back(whole.state());
    append(steps.emplace_back(), whole.next());
  }
  for (std::int64_t at = 0; at < kSteps; ++at) {
    const int world_size = static_cast<int>(at % 7) + 2;
    std::vector<std::unique_ptr<DataLoader>> ranks;
    for (int rank = 0; rank < world_size; ++rank) {
      all.owned = even_split(8, world_size, rank);
      ranks.push_back(std::make_unique<DataLoader>(sources(), all));
      ranks.back()->load_state(states[static_cast<std::size_t>(at)]);
    }
    for (std::int64_t i = at; i < kSteps; i += 1 + i / 16) {  // all of the next steps, then ever fewer
      Seen together;
      for (const auto& rank : ranks) append(together, rank->next());
      ASSERT_EQ(together, steps[static_cast<std::size_t>(i)]) << "resumed at " << at;
      for (std::int64_t skipped = i + 1; skipped < i + 1 + i / 16 && skipped < kSteps; ++skipped) {
        for (const auto& rank : ranks) (void)rank->next();
      }
    }
  }
}

TEST(MixedLoader, ends_an_epoch_with_every_sample_once_where_sources_have_no_weights) {
  DataLoader loader({source("a", 0, 50), source("b", 1, 23), source("c", 2, 11)}, options());
  for (int epoch = 0; epoch < 3; ++epoch) {
    std::map<std::pair<std::int32_t, std::int64_t>, int> seen;
    for (const auto& id : take(loader, loader.steps_per_epoch()).ids) ++seen[{id.source, id.sample}];
    ASSERT_THAT(seen, SizeIs(84));
    for (const auto& [id, times] : seen) ASSERT_EQ(times, 1);
  }
}

TEST(MixedLoader, gives_every_sample_once_in_each_pass_of_its_source_over_random_kills_and_world_sizes) {
  std::mt19937 random(4);
  std::string state = DataLoader(three(), options()).state();
  std::map<std::pair<std::int32_t, std::int64_t>, std::vector<std::int64_t>> passes;  // source, pass → samples
  for (int kill = 0; kill < 20; ++kill) {
    const int world_size = 1 + static_cast<int>(random() % 8);
    const int steps = 1 + static_cast<int>(random() % 9);
    std::string last;
    for (int rank = 0; rank < world_size; ++rank) {
      DataLoader loader(three(), options(even_split(24, world_size, rank), 1 + rank % 2));
      loader.load_state(state);
      for (const auto& id : take(loader, steps).ids) passes[{id.source, id.pass}].push_back(id.sample);
      last = loader.state();
    }
    state = last;  // what was read ahead is lost with the killed ranks
  }
  const std::array<std::size_t, 3> sizes{50, 23, 11};
  std::size_t whole = 0;
  for (auto& [pass, samples] : passes) {
    std::ranges::sort(samples);
    EXPECT_EQ(std::ranges::adjacent_find(samples), samples.end()) << "a sample came twice";
    const bool last = !passes.contains({pass.first, pass.second + 1});
    if (last) continue;
    EXPECT_EQ(samples.size(), sizes[static_cast<std::size_t>(pass.first)]) << "a sample was lost";
    ++whole;
  }
  EXPECT_GT(whole, 50U);
}

TEST(MixedLoader, keeps_the_weights_within_a_sample_in_every_global_batch) {
  DataLoader loader({source("a", 0, 50, 3.0), source("b", 1, 23, 2.0), source("c", 2, 11, 1.0)}, options());
  for (int step = 0; step < 2; ++step) {
    std::array<int, 3> counts{};
    for (const auto& id : take(loader, 1).ids) ++counts[static_cast<std::size_t>(id.source)];
    EXPECT_NEAR(counts[0], 15, 1);
    EXPECT_NEAR(counts[1], 10, 1);
    EXPECT_NEAR(counts[2], 5, 1);
  }
}

// The samples of source `name` that a loader gives, as (pass, sample).
std::vector<std::pair<std::int64_t, std::int64_t>> of_source(const Seen& seen, std::int32_t source) {
  std::vector<std::pair<std::int64_t, std::int64_t>> samples;
  for (const auto& id : seen.ids) {
    if (id.source == source) samples.emplace_back(id.pass, id.sample);
  }
  return samples;
}

TEST(MixedLoader, goes_on_in_kept_sources_when_weights_change_and_sources_come_and_go) {
  DataLoader before(three(), options());
  auto of_b = of_source(take(before, 5), 1);
  DataLoader after({source("new", 7, 40, 1.0), source("b", 1, 23, 3.0)}, options());
  after.load_state(before.state());
  const Seen rest = take(after, 8);
  const auto more = of_source(rest, 1);
  of_b.insert(of_b.end(), more.begin(), more.end());
  DataLoader only_b({source("b", 1, 23)}, options());
  auto expected = of_source(take(only_b, 8), 0);
  expected.resize(of_b.size());
  EXPECT_EQ(of_b, expected) << "a source's order depends on its name alone";
  const auto of_new = of_source(rest, 0);
  EXPECT_NEAR(static_cast<double>(of_new.size()), static_cast<double>(more.size()) / 3, 2) << "by the new weights";
}

TEST(MixedLoader, keeps_its_state_small) {
  std::vector<Source> many;
  for (int i = 0; i < 10; ++i) many.push_back(source("source-" + std::to_string(i), i, 1'000'000'000));
  DataLoader loader(std::move(many), options());
  (void)take(loader, 3);
  EXPECT_LT(loader.state().size(), 4096U);
}

TEST(MixedLoader, refuses_a_mix_that_cannot_be) {
  const auto refuses = [](std::vector<Source> sources, const char* part) {
    EXPECT_THAT([&] { DataLoader(sources, options()); }, ThrowsMessage<UsageError>(HasSubstr(part)));
  };
  refuses({}, "no source");
  refuses({source("a", 0, 5), source("a", 1, 5)}, "two sources are named \"a\"");
  refuses({source("a", 0, 5, 1.0), source("b", 1, 5)}, "source \"b\" has no weight");
  refuses({source("a", 0, 5, -1.0), source("b", 1, 5, 1.0)}, "a weight is -1");
}

TEST(LastBatch, is_short_dropped_or_padded_and_every_rank_gets_as_many_steps) {
  const auto sizes = [](LastBatch policy, int world_size) {
    std::vector<std::vector<std::int64_t>> of_ranks;
    for (int rank = 0; rank < world_size; ++rank) {
      LoaderOptions chosen{
          .global_batch = 8, .micro_batches = world_size, .owned = even_split(world_size, world_size, rank)};
      chosen.last_batch = policy;
      DataLoader loader({source("a", 0, 21)}, chosen);
      auto& of_rank = of_ranks.emplace_back();
      for (std::int64_t i = 0; i < loader.steps_per_epoch(); ++i) of_rank.push_back(loader.next().samples);
      EXPECT_EQ(loader.next().epoch, 1);
    }
    for (const auto& of_rank : of_ranks) EXPECT_EQ(of_rank, of_ranks.front());
    return of_ranks.front();
  };
  for (const int world_size : {1, 3, 5, 7}) {
    EXPECT_THAT(sizes(LastBatch::shorter, world_size), ElementsAre(8, 8, 5));
    EXPECT_THAT(sizes(LastBatch::drop, world_size), ElementsAre(8, 8));
    EXPECT_THAT(sizes(LastBatch::pad, world_size), ElementsAre(8, 8, 8));
  }
}

TEST(LastBatch, pads_with_its_own_samples_from_the_first_on) {
  LoaderOptions padded{.global_batch = 8, .last_batch = LastBatch::pad};
  DataLoader loader({source("a", 0, 11)}, padded);
  (void)loader.next();
  const auto ids = take(loader, 1).ids;
  ASSERT_THAT(ids, SizeIs(8));
  for (std::size_t i = 3; i < 8; ++i) EXPECT_EQ(ids[i], ids[i - 3]);
}

TEST(LastBatch, that_is_dropped_passes_its_samples) {
  LoaderOptions dropping{.global_batch = 8, .last_batch = LastBatch::drop};
  DataLoader loader({source("a", 0, 21)}, dropping);
  (void)take(loader, 2);
  for (const auto& id : take(loader, 2).ids) EXPECT_EQ(id.pass, 1);
}

TEST(Damaged, gives_way_to_the_same_other_sample_on_every_rank_and_after_a_resume) {
  const auto damaged = [] { return std::vector<Source>{source("a", 0, 50, 1.0, {7, 31}), source("b", 1, 23, 1.0)}; };
  DataLoader alone(damaged(), options());
  const std::string start = alone.state();
  const Seen expected = take(alone, 12);
  for (const auto& id : expected.ids) EXPECT_FALSE(id.source == 0 && (id.sample == 7 || id.sample == 31));
  ASSERT_THAT(alone.damaged(), SizeIs(2));
  EXPECT_EQ(alone.damaged()[0].source, "a");
  EXPECT_EQ(alone.damaged()[0].sample, 7);
  EXPECT_THAT(alone.damaged()[0].why, AllOf(HasSubstr("sample 7"), HasSubstr("a bit flipped")));

  std::vector<std::unique_ptr<DataLoader>> ranks;
  for (int rank = 0; rank < 3; ++rank)
    ranks.push_back(std::make_unique<DataLoader>(damaged(), options(even_split(24, 3, rank), 2)));
  Seen together;
  for (int step = 0; step < 12; ++step) {
    for (const auto& rank : ranks) append(together, rank->next());
  }
  EXPECT_EQ(together, expected);
  for (const auto& from : ranks) {
    const std::string findings = from->take_findings();
    if (findings.empty()) continue;
    for (const auto& to : ranks) to->merge_findings(0, findings);
    EXPECT_THAT(from->take_findings(), IsEmpty());
  }
  EXPECT_EQ(ranks[0]->state(), alone.state());

  const std::string later = alone.state();
  const Seen rest = take(alone, 6);
  DataLoader mended({source("a", 0, 50, 1.0), source("b", 1, 23, 1.0)}, options());
  mended.load_state(later);
  EXPECT_EQ(take(mended, 6), rest) << "what a checkpoint calls damaged stays out";
}

TEST(Damaged, stops_the_run_past_the_budget_and_lists_what_is_damaged) {
  LoaderOptions strict = options();
  strict.damaged_budget = 1;
  DataLoader loader({source("a", 0, 50, std::nullopt, {7, 31})}, strict);
  EXPECT_THAT(
      [&] { (void)take(loader, 4); },
      ThrowsMessage<DataError>(AllOf(HasSubstr("2 samples are damaged, more than the 1"), HasSubstr("a sample 7:"),
                                     HasSubstr("a sample 31:"), HasSubstr("lockstep data verify"))));
}

TEST(Damaged, stops_at_once_when_nothing_is_whole) {
  std::vector<std::int64_t> all(40);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int64_t>(i);
  DataLoader loader({source("a", 0, 40, std::nullopt, all)}, options());
  EXPECT_THAT([&] { (void)loader.next(); }, ThrowsMessage<DataError>(HasSubstr("31 others in its place are damaged")));
}

TEST(Batch, is_read_into_memory_that_the_program_let_go_of) {
  DataLoader loader({source("a", 0, 64)}, {.global_batch = 16, .prefetch_steps = 1});
  std::vector<const void*> places;
  for (int i = 0; i < 200; ++i) places.push_back(loader.next().micro_batches[0].batch.data.const_data_ptr());
  std::ranges::sort(places);
  const auto doubles = std::ranges::unique(places);
  EXPECT_LE(places.size() - doubles.size(), 20U) << "as many as are read ahead of small steps, and a few";
  const LoadedStep kept = loader.next();
  const auto before = kept.micro_batches[0].batch.data.clone();
  (void)take(loader, 12);
  EXPECT_TRUE(kept.micro_batches[0].batch.data.equal(before)) << "a batch that is held was written over";
}

TEST(Batch, pads_ragged_fields_on_demand_and_names_its_fields) {
  DataLoader loader({source("a", 0, 5)}, {.global_batch = 5, .shuffle = false});
  const Batch batch = loader.next().micro_batches[0].batch;
  const at::Tensor dense = padded(batch.column("points"), -1);
  EXPECT_THAT(dense.sizes().vec(), ElementsAre(5, 3, 2));
  EXPECT_EQ(dense[2][1][0].item<int>(), 2);
  EXPECT_EQ(dense[2][2][0].item<int>(), -1);
  EXPECT_THAT([&] { (void)batch["lidar"]; }, ThrowsMessage<UsageError>(HasSubstr("[data, points]")));
}

TEST(Statistics, count_what_was_delivered_and_who_waited) {
  DataLoader loader(three(), options({0, 12}));
  (void)take(loader, 4);
  const LoaderStatistics statistics = loader.statistics();
  EXPECT_EQ(statistics.steps, 4);
  EXPECT_EQ(statistics.samples, 15 * 2 + 12 + 15);
  EXPECT_GT(statistics.bytes, 57 * 24);
  EXPECT_GT(statistics.reading.count(), 0);
}

}  // namespace
}  // namespace lockstep
