// SPDX-License-Identifier: Apache-2.0
#include "lockstep/dataloader/data_loader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <numeric>

#include "dataloader/synthetic.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/base/file.hpp"
#include "lockstep/dataloader/permutation.hpp"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr std::int64_t kSamples = 100;
constexpr std::int64_t kStepsPerEpoch = 15;  // 14 steps of 7 samples and one of 2
constexpr std::uint64_t kSeed = 5;

// The numbers of the samples in each micro-batch of a step, by micro-batch.
using Micro = std::vector<std::vector<std::int64_t>>;

Micro numbers_of(const LoadedStep& step) {
  Micro numbers;
  for (const auto& micro_batch : step.micro_batches) {
    auto& part = numbers.emplace_back();
    if (micro_batch.samples > 0) {
      const auto* first = micro_batch.batch.target.const_data_ptr<std::int64_t>();
      part.assign(first, first + micro_batch.batch.target.numel());
    }
  }
  return numbers;
}

std::vector<Micro> take(DataLoader& loader, std::int64_t steps) {
  std::vector<Micro> taken;
  for (std::int64_t i = 0; i < steps; ++i) {
    taken.push_back(numbers_of(loader.next()));
  }
  return taken;
}

class DataLoaderTest : public testing::Test {
 protected:
  DataLoaderTest() {
    pack_numbered(folder_ / "set", kSamples, 8);
    dataset_ = open_dataset(folder_ / "set");
  }

  static LoaderOptions options(Range owned = {0, 4}) {
    return {.seed = kSeed, .global_batch = 7, .micro_batches = 4, .owned = owned};
  }

  TemporaryDirectory folder_;
  std::shared_ptr<const Dataset> dataset_;
};

// The definition, written down a second time without the loader.
Micro expected_step(std::int64_t epoch, std::int64_t step) {
  const Permutation order(kSamples, kSeed, static_cast<std::uint64_t>(epoch));
  const std::int64_t first = step * 7;
  const std::int64_t samples = std::min<std::int64_t>(first + 7, kSamples) - first;
  Micro expected;
  for (int k = 0; k < 4; ++k) {
    auto& part = expected.emplace_back();
    for (auto i = first + k * samples / 4; i < first + (k + 1) * samples / 4; ++i) {
      part.push_back(static_cast<std::int64_t>(order(static_cast<std::uint64_t>(i))));
    }
  }
  return expected;
}

TEST_F(DataLoaderTest, gives_the_same_micro_batches_at_every_world_size) {
  for (const int world_size : {1, 2, 3, 4}) {
    std::vector<std::unique_ptr<DataLoader>> ranks;
    for (int rank = 0; rank < world_size; ++rank) {
      ranks.push_back(std::make_unique<DataLoader>(dataset_, options(even_split(4, world_size, rank))));
    }
    for (std::int64_t i = 0; i < 3 * kStepsPerEpoch; ++i) {
      Micro together;
      for (const auto& rank : ranks) {
        const auto part = numbers_of(rank->next());
        together.insert(together.end(), part.begin(), part.end());
      }
      ASSERT_EQ(together, expected_step(i / kStepsPerEpoch, i % kStepsPerEpoch))
          << "world size " << world_size << ", step " << i;
    }
  }
}

TEST_F(DataLoaderTest, names_each_step_and_its_micro_batches) {
  DataLoader loader(dataset_, options({1, 3}));
  (void)take(loader, kStepsPerEpoch - 1);
  const auto last = loader.next();
  EXPECT_EQ(last.epoch, 0);
  EXPECT_EQ(last.step_in_epoch, kStepsPerEpoch - 1);
  EXPECT_EQ(last.samples, 2);
  ASSERT_EQ(last.micro_batches.size(), 2U);
  EXPECT_EQ(last.micro_batches[0].index, 1);
  EXPECT_EQ(last.micro_batches[1].index, 2);
  const auto first = loader.next();
  EXPECT_EQ(first.epoch, 1);
  EXPECT_EQ(first.step_in_epoch, 0);
  EXPECT_EQ(first.samples, 7);
}

TEST_F(DataLoaderTest, gives_every_sample_exactly_once_in_each_epoch) {
  DataLoader loader(dataset_, options());
  std::vector<std::int64_t> all(kSamples);
  std::iota(all.begin(), all.end(), 0);
  for (int epoch = 0; epoch < 2; ++epoch) {
    std::vector<std::int64_t> seen;
    for (const auto& step : take(loader, kStepsPerEpoch)) {
      for (const auto& part : step) {
        seen.insert(seen.end(), part.begin(), part.end());
      }
    }
    EXPECT_NE(seen, all) << "not shuffled";
    std::ranges::sort(seen);
    EXPECT_EQ(seen, all) << "epoch " << epoch;
  }
}

TEST_F(DataLoaderTest, starts_every_tensor_at_a_64_byte_boundary) {
  // LibTorch's kernels may change bits with alignment.
  DataLoader loader(dataset_, options());
  for (std::int64_t i = 0; i < kStepsPerEpoch - 1; ++i) {
    for (const auto& part : loader.next().micro_batches) {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(part.batch.data.const_data_ptr()) % 64, 0U);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(part.batch.target.const_data_ptr()) % 64, 0U);
    }
  }
}

TEST_F(DataLoaderTest, keeps_the_order_of_the_data_set_without_shuffle) {
  auto in_order = options();
  in_order.shuffle = false;
  DataLoader loader(dataset_, in_order);
  EXPECT_EQ(numbers_of(loader.next()), (Micro{{0}, {1, 2}, {3, 4}, {5, 6}}));
}

TEST_F(DataLoaderTest, gives_empty_micro_batches_where_a_step_has_fewer_samples_than_parts) {
  DataLoader loader(dataset_, options());
  (void)take(loader, kStepsPerEpoch - 1);
  const auto last = loader.next();  // 2 samples for 4 micro-batches
  ASSERT_EQ(last.micro_batches.size(), 4U);
  for (const int k : {0, 2}) {
    const auto& empty = last.micro_batches[static_cast<std::size_t>(k)];
    EXPECT_EQ(empty.index, k);
    EXPECT_EQ(empty.samples, 0);
    EXPECT_FALSE(empty.batch.data.defined());
    EXPECT_FALSE(empty.batch.target.defined());
  }
  EXPECT_EQ(last.micro_batches[1].samples, 1);
  EXPECT_EQ(last.micro_batches[3].batch.data.size(0), 1);
}

TEST_F(DataLoaderTest, resumed_at_any_step_gives_the_same_rest) {
  constexpr std::int64_t kSteps = 2 * kStepsPerEpoch + 1;
  DataLoader uninterrupted(dataset_, options());
  const auto expected = take(uninterrupted, kSteps);
  DataLoader saving(dataset_, options());
  for (std::int64_t at = 0; at < kSteps; ++at) {
    DataLoader resumed(dataset_, options());
    resumed.load_state(saving.state());
    const std::vector<Micro> rest(expected.begin() + at, expected.end());
    ASSERT_EQ(take(resumed, kSteps - at), rest) << "resumed at step " << at;
    (void)saving.next();
  }
}

TEST_F(DataLoaderTest, resumed_twice_loses_and_repeats_nothing) {
  DataLoader uninterrupted(dataset_, options());
  const auto expected = take(uninterrupted, 20);
  std::vector<Micro> taken;
  std::string state = DataLoader(dataset_, options()).state();
  for (const std::int64_t steps : {6, 1, 13}) {
    DataLoader loader(dataset_, options());
    loader.load_state(state);
    const auto more = take(loader, steps);
    taken.insert(taken.end(), more.begin(), more.end());
    state = loader.state();
  }
  EXPECT_EQ(taken, expected);
}

TEST_F(DataLoaderTest, goes_back_when_a_used_loader_is_given_an_earlier_state) {
  DataLoader loader(dataset_, options());
  (void)take(loader, 3);
  const std::string state = loader.state();
  const auto expected = take(loader, 5);
  loader.load_state(state);
  EXPECT_EQ(take(loader, 5), expected);
}

TEST_F(DataLoaderTest, resumes_at_another_world_size_and_prefetch_depth) {
  DataLoader one(dataset_, options());
  (void)take(one, 4);
  auto deep = options({2, 4});
  deep.prefetch_steps = 9;
  DataLoader second_of_two(dataset_, deep);
  second_of_two.load_state(one.state());
  auto expected = expected_step(0, 4);
  expected.erase(expected.begin(), expected.begin() + 2);
  EXPECT_EQ(numbers_of(second_of_two.next()), expected);
}

TEST_F(DataLoaderTest, refuses_a_state_that_does_not_fit_and_names_the_field) {
  const std::string state = DataLoader(dataset_, options()).state();
  const auto refuses = [&](const std::shared_ptr<const Dataset>& dataset, const LoaderOptions& changed,
                           const std::string& part) {
    DataLoader loader(dataset, changed);
    EXPECT_THAT([&] { loader.load_state(state); },
                ThrowsMessage<CheckpointError>(AllOf(HasSubstr(part), HasSubstr("Fix: "))));
  };
  auto other_seed = options();
  other_seed.seed = 6;
  refuses(dataset_, other_seed, "seed is 5 in the checkpoint and 6 in this run");
  pack_numbered(folder_ / "other", kSamples, 7);
  refuses(open_dataset(folder_ / "other"), options(), "is " + dataset_->fingerprint() + " in the checkpoint");
}

TEST_F(DataLoaderTest, goes_on_behind_the_last_sample_with_another_global_batch) {
  DataLoader before(dataset_, options());
  (void)take(before, 3);
  auto larger = options();
  larger.global_batch = 10;
  DataLoader after(dataset_, larger);
  after.load_state(before.state());
  const Permutation order(kSamples, kSeed, 0);
  EXPECT_EQ(numbers_of(after.next())[0][0], static_cast<std::int64_t>(order(21)));
}

TEST_F(DataLoaderTest, refuses_a_damaged_state_and_stays_where_it_is) {
  DataLoader loader(dataset_, options());
  (void)take(loader, 2);
  const std::string state = loader.state();
  std::string past_the_end = state;
  past_the_end.replace(past_the_end.find("\"samples_in_epoch\":14"), 21, "\"samples_in_epoch\":100");
  for (const std::string& damaged : {std::string("{"), std::string("{}"), std::string("[]"), past_the_end}) {
    EXPECT_THROW(loader.load_state(damaged), CheckpointError) << damaged;
  }
  EXPECT_EQ(numbers_of(loader.next()), expected_step(0, 2));
}

TEST_F(DataLoaderTest, refuses_options_that_make_no_sense) {
  const auto refuses = [this](auto change, const std::string& part) {
    auto changed = options();
    change(changed);
    EXPECT_THAT([&] { DataLoader(dataset_, changed); }, ThrowsMessage<UsageError>(HasSubstr(part)));
  };
  refuses([](auto& o) { o.global_batch = 0; }, "global_batch is 0");
  refuses([](auto& o) { o.micro_batches = 0; }, "micro_batches is 0");
  refuses([](auto& o) { o.prefetch_steps = 0; }, "prefetch_steps is 0");
  refuses([](auto& o) { o.owned = {2, 5}; }, "2 … 4");
  refuses([](auto& o) { o.owned = {-1, 2}; }, "-1 … 1");
  pack_numbered(folder_ / "empty", 0, 1);
  EXPECT_THAT([&] { DataLoader(open_dataset(folder_ / "empty"), options()); },
              ThrowsMessage<UsageError>(HasSubstr("empty")));
}

TEST_F(DataLoaderTest, carries_an_error_of_the_prefetch_thread_to_next) {
  std::string shard = read_file(folder_ / "set/shard-00003-of-00008.h5");
  shard[shard.find("\xA0\xA1\xA2\xA3")] = 0;  // a pixel of sample 40
  write_text(folder_ / "set/shard-00003-of-00008.h5", shard);
  DataLoader loader(dataset_, options());
  const auto read_an_epoch = [&] { (void)take(loader, kStepsPerEpoch); };
  EXPECT_THAT(read_an_epoch, ThrowsMessage<DataError>(HasSubstr("shard-00003-of-00008.h5")));
  EXPECT_THAT(read_an_epoch, ThrowsMessage<DataError>(HasSubstr("shard-00003-of-00008.h5")))
      << "the error was forgotten";
}

// Counts the samples read and tells who waits; can hold the reader back.
class CountingDataset : public Dataset {
 public:
  [[nodiscard]] std::int64_t samples() const noexcept override { return kSamples; }
  [[nodiscard]] std::string fingerprint() const override { return "counting"; }
  [[nodiscard]] const std::vector<FieldInfo>& fields() const noexcept override { return fields_; }
  void read(const SampleKey& /*key*/, SampleSlot& /*slot*/) const override {
    const std::lock_guard lock(mutex_);
    ++read_;
    changed_.notify_all();
  }
  bool wait_until_read(std::int64_t samples) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [&] { return read_ >= samples; });
  }
  std::int64_t read() const {
    const std::lock_guard lock(mutex_);
    return read_;
  }

 private:
  const std::vector<FieldInfo> fields_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable std::int64_t read_ = 0;
};

TEST(Prefetch, starts_at_the_first_next_and_reads_ahead_of_it) {
  const auto dataset = std::make_shared<CountingDataset>();
  DataLoader loader(dataset, {.global_batch = 10, .prefetch_steps = 3});
  EXPECT_EQ(dataset->read(), 0);
  (void)loader.next();
  EXPECT_TRUE(dataset->wait_until_read(40)) << "the step delivered and three more";
}

TEST(Prefetch, is_not_in_the_state) {
  // A state that counted what was read ahead would lose those samples at resume.
  const auto dataset = std::make_shared<CountingDataset>();
  DataLoader loader(dataset, {.global_batch = 10, .prefetch_steps = 3});
  (void)loader.next();
  ASSERT_TRUE(dataset->wait_until_read(40));
  EXPECT_THAT(loader.state(), HasSubstr("\"step_in_epoch\":1"));
}

TEST(Prefetch, runs_in_a_named_thread_that_ends_with_the_loader) {
  const auto names = [] {
    std::vector<std::string> found;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      found.push_back(read_file(task.path() / "comm"));
    }
    return found;
  };
  {
    DataLoader loader(std::make_shared<CountingDataset>(), {});
    (void)loader.next();
    EXPECT_THAT(names(), Contains("lockstep-prefet\n"));
  }
  EXPECT_THAT(names(), testing::Not(Contains("lockstep-prefet\n")));
}

}  // namespace
}  // namespace lockstep
