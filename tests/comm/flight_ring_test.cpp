// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "flight_ring.hpp"

namespace lockstep::flight {
namespace {

using comm::Advanced;
using ::testing::AnyOf;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

// Numbers that no real communicator has.
constexpr std::uint32_t kFirst = 1'000'000;
constexpr TimePoint kStart{std::chrono::seconds(100)};
constexpr TimePoint kLater{std::chrono::seconds(101)};
constexpr TimePoint kNever{};

comm::Call numbered(std::uint64_t number) {
  const auto value = static_cast<std::int64_t>(number);
  return {.elements = value, .parts = number, .leaves = value, .sequence = number};
}

// The ring is the process's: each test looks at the calls of a communicator of its own.
std::vector<Entry> calls_of(std::uint32_t communicator) {
  std::vector<Entry> entries = snapshot();
  std::erase_if(entries, [&](const Entry& entry) { return entry.communicator != communicator; });
  return entries;
}

TEST(FlightRing, keeps_a_call_with_its_label_and_its_times) {
  Mark mark = record(kFirst + 1, numbered(7), "gradients", kStart);
  mark.advanced(Advanced::not_yet, kLater);
  ASSERT_THAT(calls_of(kFirst + 1), SizeIs(1));
  EXPECT_EQ(calls_of(kFirst + 1)[0].call, numbered(7));
  EXPECT_EQ(calls_of(kFirst + 1)[0].label, "gradients");
  EXPECT_EQ(calls_of(kFirst + 1)[0].started, kStart);
  EXPECT_EQ(calls_of(kFirst + 1)[0].moved, kNever);
  mark.advanced(Advanced::partly, kLater);
  mark.advanced(Advanced::partly, kLater + std::chrono::seconds(1));
  EXPECT_EQ(calls_of(kFirst + 1)[0].moved, kLater);
  EXPECT_EQ(calls_of(kFirst + 1)[0].ended, kNever);
  mark.advanced(Advanced::fully, kLater + std::chrono::seconds(2));
  EXPECT_EQ(calls_of(kFirst + 1)[0].moved, kLater);
  EXPECT_EQ(calls_of(kFirst + 1)[0].ended, kLater + std::chrono::seconds(2));
}

TEST(FlightRing, cuts_a_long_label) {
  (void)record(kFirst + 2, numbered(0), std::string(1000, 'x'), kStart);
  EXPECT_EQ(calls_of(kFirst + 2).at(0).label, std::string(kLabelBytes, 'x'));
}

TEST(FlightRing, keeps_the_last_calls_in_their_order) {
  for (std::uint64_t number = 0; number < kEntries + 10; ++number)
    (void)record(kFirst + 3, numbered(number), "", kStart);
  const std::vector<Entry> calls = calls_of(kFirst + 3);
  ASSERT_THAT(calls, SizeIs(kEntries));
  for (std::size_t i = 0; i < calls.size(); ++i) ASSERT_EQ(calls[i].call.sequence, i + 10);
}

TEST(FlightRing, a_call_that_fell_out_does_not_change_the_one_in_its_place) {
  Mark old = record(kFirst + 4, numbered(0), "old", kStart);
  for (std::size_t i = 0; i < kEntries; ++i) (void)record(kFirst + 5, numbered(i), "", kStart);
  old.advanced(Advanced::fully, kLater);
  EXPECT_THAT(calls_of(kFirst + 4), IsEmpty());
  for (const Entry& entry : calls_of(kFirst + 5)) ASSERT_EQ(entry.ended, kNever);
}

TEST(FlightRing, records_nothing_while_it_is_off) {
  set_enabled(false);
  Mark mark = record(kFirst + 6, numbered(0), "", kStart);
  mark.advanced(Advanced::fully, kLater);
  set_enabled(true);
  EXPECT_THAT(calls_of(kFirst + 6), IsEmpty());
}

// Every field of an entry tells the same number, whoever writes meanwhile.
void expect_whole(const Entry& entry) {
  EXPECT_EQ(entry.call, numbered(entry.call.sequence));
  EXPECT_THAT(entry.label, StartsWith(std::to_string(entry.call.sequence) + " "));
  EXPECT_EQ(entry.started, TimePoint(std::chrono::nanoseconds(entry.call.sequence)));
  EXPECT_THAT(entry.ended, AnyOf(kNever, entry.started + std::chrono::hours(1)));
}

TEST(FlightRing, is_read_whole_while_threads_write) {
  constexpr std::uint64_t kCalls = 20'000;
  std::atomic<int> writing{4};
  std::vector<std::thread> writers;
  for (std::uint32_t writer = 0; writer < 4; ++writer) {
    writers.emplace_back([&, writer] {
      for (std::uint64_t number = 1; number <= kCalls; ++number) {
        const TimePoint started{std::chrono::nanoseconds(number)};
        Mark mark = record(kFirst + 10 + writer, numbered(number), std::to_string(number) + " of a label", started);
        if (number % 2 == 0) mark.advanced(Advanced::fully, started + std::chrono::hours(1));
      }
      --writing;
    });
  }
  do {
    for (const Entry& entry : snapshot()) {
      if (entry.communicator >= kFirst + 10) expect_whole(entry);
    }
  } while (writing > 0);
  for (std::thread& writer : writers) writer.join();
  const std::vector<Entry> last = snapshot();
  ASSERT_THAT(last, SizeIs(kEntries));
  for (const Entry& entry : last) {
    expect_whole(entry);
    EXPECT_EQ(entry.ended != kNever, entry.call.sequence % 2 == 0);
  }
}

}  // namespace
}  // namespace lockstep::flight
