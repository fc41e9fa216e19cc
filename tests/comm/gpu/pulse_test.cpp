// SPDX-License-Identifier: Apache-2.0
#include "gpu/pulse.hpp"

#include <gmock/gmock.h>

#include <string>

#include "lockstep/comm/local.hpp"

namespace lockstep::comm::gpu {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Field;
using ::testing::HasSubstr;

Call all_reduce(std::uint64_t sequence) {
  return {.kind = Kind::all_reduce, .dtype = DType::float32, .elements = 400, .leaves = 2, .sequence = sequence};
}

// Rounds without pauses, until `enough` or a failure.
template <class Enough>
std::optional<Failure> drive(Pulse& pulse, const Enough& enough) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!enough()) {
    if (auto failure = pulse.advance(Pulse::kPeriod)) return failure;
    if (std::chrono::steady_clock::now() < deadline) continue;
    ADD_FAILURE() << "the ranks do not come to an end";
    break;
  }
  return std::nullopt;
}

std::optional<Failure> drive_to_the_end(Pulse& pulse) {
  pulse.say_goodbye();
  return drive(pulse, [&] { return pulse.finished(); });
}

Pulse pulse_of(Communicator& world) { return Pulse(world.backend().split(0, world.rank())); }

TEST(Pulse, finds_nothing_where_ranks_agree) {
  run_local_ranks(3, [](Communicator& world) {
    Pulse pulse = pulse_of(world);
    for (std::uint64_t i = 0; i < 10; ++i) pulse.note(all_reduce(i));
    pulse.completed(10);
    EXPECT_FALSE(drive_to_the_end(pulse));
    EXPECT_THAT(pulse.standings(), Each(AllOf(Field(&Standing::called, 10U), Field(&Standing::completed, 10U))));
  });
}

TEST(Pulse, compares_a_backlog_of_thousands_of_calls) {
  run_local_ranks(3, [](Communicator& world) {
    Pulse pulse = pulse_of(world);
    for (std::uint64_t i = 0; i < 5000; ++i) pulse.note(all_reduce(i));
    pulse.note({.kind = Kind::broadcast, .root = world.rank() / 2, .sequence = 5000});
    const auto failure = drive_to_the_end(pulse);
    ASSERT_TRUE(failure);
    EXPECT_THAT(failure->why, AllOf(HasSubstr("rank 0: broadcast #5000 (0 × uint8, root 0)"),
                                    HasSubstr("rank 2: broadcast #5000 (0 × uint8, root 1)")));
  });
}

TEST(Pulse, hurries_while_there_is_a_backlog_and_then_rests) {
  run_local_ranks(1, [](Communicator& world) {
    Pulse pulse = pulse_of(world);
    for (std::uint64_t i = 0; i < 100; ++i) pulse.note(all_reduce(i));
    ASSERT_FALSE(drive(pulse, [&] { return pulse.standings()[0].called == 100 && !pulse.hurries(); }));
    pulse.note(all_reduce(100));
    EXPECT_FALSE(pulse.advance(std::chrono::milliseconds(1)));
    EXPECT_EQ(pulse.standings()[0].called, 100U);  // a period has not passed since the last round
    EXPECT_FALSE(pulse.advance(Pulse::kPeriod));
    EXPECT_EQ(pulse.standings()[0].called, 101U);
  });
}

// Two calls in the same place that do not fit, and what is said of them.
struct Difference {
  std::string name;
  Call call[2];
  std::string said[3];
};

const Difference kDifferences[] = {
    {"kind",
     {{.kind = Kind::all_gather, .elements = 7}, {.kind = Kind::barrier}},
     {"different collectives", "rank 0: all_gather #0 (7 × uint8)", "rank 1: barrier #0"}},
    {"dtype",
     {{.kind = Kind::all_reduce, .dtype = DType::float32}, {.kind = Kind::all_reduce, .dtype = DType::bfloat16}},
     {"different dtypes", "rank 0: all_reduce #0 (0 × float32", "rank 1: all_reduce #0 (0 × bfloat16"}},
    {"count",
     {{.kind = Kind::all_reduce, .elements = 3}, {.kind = Kind::all_reduce, .elements = 4}},
     {"different numbers of elements", "rank 0: all_reduce #0 (3 ×", "rank 1: all_reduce #0 (4 ×"}},
    {"op",
     {{.kind = Kind::all_reduce}, {.kind = Kind::all_reduce, .op = ReduceOp::max}},
     {"different operations", "rank 0: all_reduce #0 (0 × uint8, sum)", "rank 1: all_reduce #0 (0 × uint8, max)"}},
    {"root",
     {{.kind = Kind::broadcast, .root = 0}, {.kind = Kind::broadcast, .root = 1}},
     {"different roots", "rank 0: broadcast #0 (0 × uint8, root 0)", "rank 1: broadcast #0 (0 × uint8, root 1)"}},
    {"order",
     {{.kind = Kind::all_reduce}, {.kind = Kind::all_reduce, .order = ReduceOrder::any}},
     {"different options", "rank 0: all_reduce #0 (0 × uint8, sum)",
      "rank 1: all_reduce #0 (0 × uint8, sum, any order)"}},
    {"message",
     {{.kind = Kind::send, .root = 1, .elements = 3}, {.kind = Kind::receive, .root = 0, .elements = 4}},
     {"a send and its receive differ", "rank 0: send #0 (3 × uint8, to rank 1)",
      "rank 1: receive #0 (4 × uint8, from rank 0)"}},
};

class PulseMismatch : public ::testing::TestWithParam<Difference> {};

TEST_P(PulseMismatch, names_both_ranks_and_both_calls_on_every_rank) {
  const Difference& difference = GetParam();
  run_local_ranks(2, [&](Communicator& world) {
    Pulse pulse = pulse_of(world);
    pulse.note(difference.call[world.rank()]);
    const auto failure = drive_to_the_end(pulse);
    ASSERT_TRUE(failure);
    EXPECT_EQ(failure->kind, FailureKind::mismatch);
    for (const std::string& said : difference.said) EXPECT_THAT(failure->why, HasSubstr(said));
    EXPECT_FALSE(pulse.advance(Pulse::kPeriod));  // said once
  });
}

INSTANTIATE_TEST_SUITE_P(Of, PulseMismatch, ::testing::ValuesIn(kDifferences),
                         [](const auto& instance) { return instance.param.name; });

TEST(Pulse, pairs_messages_whatever_their_order_among_collectives) {
  run_local_ranks(2, [](Communicator& world) {
    Pulse pulse = pulse_of(world);
    const bool sends = world.rank() == 0;
    if (!sends) pulse.note(all_reduce(0));
    for (std::uint64_t i = 0; i < 3; ++i) {
      pulse.note({.kind = sends ? Kind::send : Kind::receive,
                  .root = 1 - world.rank(),
                  .elements = static_cast<std::int64_t>(i),
                  .sequence = i});
    }
    if (sends) pulse.note(all_reduce(0));
    EXPECT_FALSE(drive_to_the_end(pulse));
  });
}

TEST(Pulse, tells_of_a_straggler) {
  run_local_ranks(3, [](Communicator& world) {
    Pulse pulse = pulse_of(world);
    const std::uint64_t calls = world.rank() == 1 ? 2 : 40;
    for (std::uint64_t i = 0; i < calls; ++i) pulse.note(all_reduce(i));
    EXPECT_FALSE(drive(pulse, [&] { return pulse.standings()[0].called == 40; }));
    EXPECT_EQ(pulse.standings()[1].called, 2U);
    EXPECT_EQ(pulse.standings()[2].called, 40U);
    for (std::uint64_t i = calls; i < 40; ++i) pulse.note(all_reduce(i));
    EXPECT_FALSE(drive_to_the_end(pulse));
  });
}

TEST(Pulse, ends_when_all_have_said_goodbye_and_not_before) {
  run_local_ranks(2, [](Communicator& world) {
    Pulse pulse = pulse_of(world);
    if (world.rank() == 0) pulse.say_goodbye();
    for (std::uint64_t i = 0; world.rank() == 1 && i < 40; ++i) {
      EXPECT_FALSE(pulse.advance(Pulse::kPeriod));
      EXPECT_FALSE(pulse.finished());
    }
    EXPECT_FALSE(drive_to_the_end(pulse));
  });
}

TEST(Pulse, names_a_rank_that_leaves_without_having_called) {
  run_local_ranks(2, [](Communicator& world) {
    Pulse pulse = pulse_of(world);
    pulse.note(all_reduce(0));
    if (world.rank() == 0) pulse.note(all_reduce(1));
    const auto failure = drive_to_the_end(pulse);
    ASSERT_TRUE(failure);
    EXPECT_THAT(failure->why, AllOf(HasSubstr("rank 0 called all_reduce #1"), HasSubstr("rank 1 has closed")));
    EXPECT_EQ(failure->culprit, 1);
  });
}

TEST(Pulse, throws_what_a_peer_failed_of) {
  run_local_ranks(3, [](Communicator& world) {
    Pulse pulse = pulse_of(world);
    if (world.rank() == 2) return pulse.fail({.kind = FailureKind::native, .why = "the device is lost", .fix = {}});
    try {
      drive_to_the_end(pulse);
      ADD_FAILURE() << "it did not throw";
    } catch (const BackendFailure& thrown) {
      EXPECT_EQ(thrown.failure.kind, FailureKind::peer_died);
      EXPECT_EQ(thrown.failure.why, "rank 2 gave up: the device is lost");
    }
  });
}

TEST(Pulse, of_a_rank_that_is_gone_leaves_its_record_to_the_peers) {
  run_local_ranks(2, [](Communicator& world) {
    Pulse pulse = pulse_of(world);
    pulse.note(all_reduce(0));
    EXPECT_FALSE(pulse.advance(Pulse::kPeriod));
  });
}

}  // namespace
}  // namespace lockstep::comm::gpu
