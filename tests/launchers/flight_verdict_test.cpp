// SPDX-License-Identifier: Apache-2.0
#include "flight_verdict.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "lockstep/base/error.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep::launchers {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;
using Kind = FlightFinding::Kind;

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kWritten = 1000 * kSecond;  // when the files were

// A call 100 s before the files were written, on communicator 0.
FlightCall call(const std::string& kind, std::uint64_t sequence, const std::string& state = "done",
                std::int64_t elements = 8) {
  const std::int64_t started = kWritten - 100 * kSecond + static_cast<std::int64_t>(sequence);
  return {.sequence = sequence,
          .kind = kind,
          .text = kind + " #" + std::to_string(sequence),
          .state = state,
          .started = started,
          .moved = state == "done" ? started : 0,
          .ended = state == "done" ? started : 0,
          .fingerprint = {{"kind", kind}, {"dtype", "float32"}, {"elements", std::to_string(elements)}}};
}

// Rank `rank` of 3, on which `calls` are all collectives.
FlightDump dump(int rank, std::vector<FlightCall> calls) {
  FlightDump made{.rank = rank, .world_size = 3, .host = "n07", .pid = 100 + rank, .time = kWritten};
  made.ranks = {{"n07", 100}, {"n07", 101}, {"n07", 102}};
  made.communicators = {{.id = "world", .name = "world", .rank = rank, .world_size = 3}};
  for (const FlightCall& each : calls) made.communicators[0].collectives = each.sequence + 1;
  made.calls = std::move(calls);
  return made;
}

std::string text_of_first(const std::vector<FlightDump>& dumps) {
  const auto findings = judge_flight(dumps);
  return findings.empty() ? "no finding" : findings.front().text;
}

TEST(FlightVerdict, a_rank_that_never_called_is_named_with_its_last_call) {
  const auto before = call("barrier", 6);
  const auto waiting = call("all_reduce", 7, "failed");
  const auto findings = judge_flight({dump(0, {before, waiting}), dump(1, {before}), dump(2, {before, waiting})});
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].kind, Kind::never_called);
  EXPECT_THAT(findings[0].ranks, ElementsAre(1));
  EXPECT_EQ(findings[0].text,
            "rank 1 never called all_reduce #7 on \"world\", in which ranks 0, 2 wait: its last call was barrier #6 on "
            "\"world\" (done)");
}

TEST(FlightVerdict, a_call_that_fell_out_of_a_ring_was_called) {
  FlightDump busy = dump(1, {});
  busy.communicators[0].collectives = 9;
  const auto waiting = call("all_reduce", 7, "failed");
  EXPECT_THAT(text_of_first({dump(0, {waiting}), busy, dump(2, {waiting})}), HasSubstr("all ranks are inside"));
}

TEST(FlightVerdict, a_file_written_before_the_call_proves_nothing) {
  FlightDump early = dump(1, {});
  early.time = kWritten - 200 * kSecond;
  const auto waiting = call("all_reduce", 0, "published");
  for (const FlightFinding& finding : judge_flight({dump(0, {waiting}), early, dump(2, {waiting})})) {
    EXPECT_NE(finding.kind, Kind::never_called) << finding.text;
  }
}

TEST(FlightVerdict, a_call_just_made_is_no_disagreement) {
  auto recent = call("all_reduce", 0, "published");
  recent.started = kWritten - kSecond / 2;
  EXPECT_THAT(judge_flight({dump(0, {recent}), dump(1, {}), dump(2, {recent})}), IsEmpty());
}

TEST(FlightVerdict, the_rank_that_has_not_finished_is_named) {
  const auto done = call("all_reduce", 3);
  EXPECT_EQ(text_of_first({dump(0, {done}), dump(1, {call("all_reduce", 3, "failed")}), dump(2, {done})}),
            "all ranks are inside all_reduce #3 on \"world\"; rank 1 has not finished moving data");
}

TEST(FlightVerdict, later_calls_tell_a_swap_from_a_missing_and_an_extra_call) {
  const auto usual = std::vector{call("all_reduce", 0, "failed"), call("barrier", 1, "failed")};
  const auto with = [&](std::vector<FlightCall> odd) {
    return text_of_first({dump(0, usual), dump(1, usual), dump(2, std::move(odd))});
  };
  EXPECT_THAT(with({call("barrier", 0), call("all_reduce", 1)}), EndsWith("rank 2 called the two in the other order"));
  EXPECT_THAT(with({call("barrier", 0)}), EndsWith("rank 2 seems to have left out a call"));
  EXPECT_THAT(with({call("gather", 0), call("all_reduce", 1)}), EndsWith("rank 2 seems to have made one more call"));
}

TEST(FlightVerdict, a_message_that_nobody_receives_names_the_receiver) {
  auto send = call("send", 4, "failed");
  send.root = 2;
  const auto findings = judge_flight({dump(0, {send}), dump(1, {}), dump(2, {})});
  ASSERT_FALSE(findings.empty());
  EXPECT_EQ(findings[0].text,
            "rank 2 never came to send #4 on \"world\", in which rank 0 waits: it made no call at all");
}

TEST(FlightVerdict, messages_of_different_sizes_are_a_mismatch) {
  auto send = call("send", 0, "failed", 8);
  auto receive = call("receive", 0, "failed", 9);
  send.root = 2;
  receive.root = 0;
  EXPECT_THAT(text_of_first({dump(0, {send}), dump(1, {}), dump(2, {receive})}),
              EndsWith("on \"world\" (different: elements)"));
}

TEST(FlightVerdict, a_rank_without_a_file_is_named_with_its_process) {
  const auto waiting = call("all_reduce", 7, "failed");
  const auto findings = judge_flight({dump(0, {waiting}), dump(2, {waiting})});
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].text,
            "rank 1 left no file (dead or stopped: pid 101 on n07); ranks 0, 2 wait in all_reduce #7 on \"world\"");
}

TEST(FlightVerdict, a_file_of_an_earlier_job_does_not_count) {
  const auto waiting = call("all_reduce", 7, "failed");
  FlightDump old = dump(1, {call("all_reduce", 7)});
  old.time -= 3600 * kSecond;
  old.ranks[1].second = 55;
  EXPECT_EQ(judge_flight({dump(0, {waiting}), old, dump(2, {waiting})}).at(0).kind, Kind::no_dump);
}

TEST(FlightVerdict, a_dead_rank_comes_before_those_that_did_not_come_because_of_it) {
  const auto waiting = call("all_reduce", 7, "failed");
  FlightDump victim = dump(0, {waiting});
  victim.communicators[0].failure = FlightFailure{.kind = "peer_died", .why = "rank 2 died", .time = kWritten};
  const auto findings = judge_flight({victim, dump(1, {})});
  ASSERT_EQ(findings.size(), 2U);
  EXPECT_EQ(findings[0].kind, Kind::no_dump);
  EXPECT_EQ(findings[1].kind, Kind::never_called);
}

TEST(FlightVerdict, a_rank_that_gave_up_is_named_when_nothing_else_is_wrong) {
  FlightDump quitter = dump(1, {});
  quitter.communicators[0].failure = FlightFailure{.kind = "aborted", .why = "shard 7 is truncated", .time = kWritten};
  EXPECT_EQ(text_of_first({dump(0, {}), quitter, dump(2, {})}), "rank 1 gave up: shard 7 is truncated");
}

TEST(FlightVerdict, a_rank_that_came_too_late_is_named) {
  FlightDump impatient = dump(0, {call("all_reduce", 7, "failed")});
  impatient.communicators[0].failure = FlightFailure{.kind = "timeout", .why = "", .time = kWritten - 5 * kSecond};
  auto late = call("all_reduce", 7, "done");
  late.started = kWritten - kSecond;
  const auto findings = judge_flight({impatient, dump(1, {late}), dump(2, {call("all_reduce", 7, "failed")})});
  ASSERT_FALSE(findings.empty());
  EXPECT_EQ(findings[0].kind, Kind::too_late);
  EXPECT_THAT(findings[0].ranks, ElementsAre(1));
}

TEST(FlightDumpFiles, a_folder_without_any_is_refused) {
  const test::TemporaryDirectory folder;
  EXPECT_THAT([&] { (void)read_flight_dumps(folder.path()); },
              ThrowsMessage<UsageError>(HasSubstr("no flight-rank-*.json is in it")));
  EXPECT_THAT([&] { (void)read_flight_dumps(folder / "none"); },
              ThrowsMessage<UsageError>(HasSubstr("No such file or directory")));
}

TEST(FlightDumpFiles, a_damaged_one_is_named) {
  const test::TemporaryDirectory folder;
  std::ofstream(folder / "flight-rank-3.json") << R"({"schema_version": 1, "rank": 3)";
  EXPECT_THAT([&] { (void)read_flight_dumps(folder.path()); },
              ThrowsMessage<IoError>(HasSubstr("flight-rank-3.json: it is not a flight recorder's file, or damaged")));
}

TEST(FlightDumpFiles, one_of_another_version_is_refused) {
  const test::TemporaryDirectory folder;
  std::ofstream(folder / "flight-rank-0.json") << R"({"schema_version": 2})";
  EXPECT_THAT([&] { (void)read_flight_dumps(folder.path()); },
              ThrowsMessage<IoError>(HasSubstr("its schema_version is not 1")));
}

}  // namespace
}  // namespace lockstep::launchers
