// SPDX-License-Identifier: Apache-2.0
#include "device_feed.hpp"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <string>
#include <vector>

namespace lockstep::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

constexpr c10::StreamId kCopies = 7;

// A device whose memory is the host's, and whose streams only say what they were told.
class Streams final : public c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CPU> {
 public:
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    return c10::Stream(c10::Stream::UNSAFE, device, kCopies);
  }
  void record(void** event, const c10::Stream& stream, c10::DeviceIndex, c10::EventFlag) const override {
    if (*event == nullptr) *event = reinterpret_cast<void*>(static_cast<std::uintptr_t>(++events));
    calls.push_back("event " + name(*event) + " on " + name(stream));
  }
  void block(void* event, const c10::Stream& stream) const override {
    calls.push_back(name(stream) + " waits for event " + name(event));
  }
  bool queryEvent(void*) const override { return reached; }
  void destroyEvent(void*, c10::DeviceIndex) const noexcept override {}

  mutable std::vector<std::string> calls;
  mutable int events = 0;
  bool reached = true;

 private:
  static std::string name(void* event) { return std::to_string(reinterpret_cast<std::uintptr_t>(event)); }
  static std::string name(const c10::Stream& stream) { return stream.id() == kCopies ? "copies" : "computes"; }
};

LoadedStep step_of(float value) {
  MicroBatch micro_batch{.index = 0, .samples = 4, .batch = {}};
  micro_batch.batch.columns = {{"data", at::full({4, 3}, value), {}}, {"weight", at::full({4}, value + 0.5), {}}};
  micro_batch.batch.data = micro_batch.batch.columns[0].values;
  return {.epoch = 0, .step_in_epoch = 0, .samples = 4, .micro_batches = {micro_batch}};
}

Batch& batch_of(LoadedStep& step) { return step.micro_batches[0].batch; }

class DeviceFeeds : public ::testing::Test {
 protected:
  Streams streams_;
  DeviceFeed feed_{at::kCPU, c10::impl::VirtualGuardImpl(&streams_)};

  // Where the next step's data come to lie, when the program lets go of them at once.
  const void* place_of_next() {
    LoadedStep there = feed_.bring(step_of(0));
    return batch_of(there).data.const_data_ptr();
  }
};

TEST_F(DeviceFeeds, bring_all_columns_into_other_memory) {
  LoadedStep here = step_of(2);
  LoadedStep there = feed_.bring(here);
  EXPECT_TRUE(batch_of(there).data.equal(batch_of(here).data));
  EXPECT_TRUE(batch_of(there)["weight"].equal(batch_of(here)["weight"]));
  EXPECT_FALSE(batch_of(there).data.is_alias_of(batch_of(here).data));
  EXPECT_TRUE(batch_of(there).data.is_alias_of(batch_of(there)["data"]));
}

TEST_F(DeviceFeeds, let_the_computing_stream_wait_for_the_copies) {
  const LoadedStep there = feed_.bring(step_of(0));
  EXPECT_THAT(streams_.calls, ElementsAre("event 1 on computes", "copies waits for event 1", "copies waits for event 1",
                                          "event 2 on copies", "computes waits for event 2"));
}

TEST_F(DeviceFeeds, use_the_memory_of_the_step_before_last_beside_the_last) {
  const void* const first = place_of_next();
  const void* const second = place_of_next();
  EXPECT_NE(second, first);
  streams_.calls.clear();
  EXPECT_EQ(place_of_next(), first);
  EXPECT_THAT(streams_.calls, Contains("copies waits for event 3"));  // of when the first had ended, not the second
}

TEST_F(DeviceFeeds, leave_alone_what_the_program_still_holds) {
  LoadedStep kept = feed_.bring(step_of(1));
  for (int i = 0; i < 4; ++i) static_cast<void>(place_of_next());
  EXPECT_TRUE(batch_of(kept).data.equal(at::full({4, 3}, 1.0F)));
}

// The loader reads the next samples into it as soon as nobody holds it.
TEST_F(DeviceFeeds, hold_the_hosts_memory_until_it_has_been_read) {
  LoadedStep here = step_of(1);
  const at::Tensor data = batch_of(here).data;
  streams_.reached = false;
  static_cast<void>(feed_.bring(std::move(here)));
  static_cast<void>(feed_.bring(step_of(2)));
  EXPECT_GT(data.use_count(), 1U);
  streams_.reached = true;
  static_cast<void>(feed_.bring(step_of(3)));
  EXPECT_EQ(data.use_count(), 1U);
}

TEST_F(DeviceFeeds, pass_over_micro_batches_without_samples) {
  LoadedStep step;
  step.micro_batches.emplace_back();
  EXPECT_FALSE(feed_.bring(step).micro_batches[0].batch.data.defined());
}

}  // namespace
}  // namespace lockstep::testing
