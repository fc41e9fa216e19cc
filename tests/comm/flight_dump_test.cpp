// SPDX-License-Identifier: Apache-2.0
// What ranks that are threads leave behind, as `lockstep recorder merge` reads it.
#include <gmock/gmock.h>

#include <array>
#include <filesystem>
#include <thread>

#include "flight_dump.hpp"
#include "flight_verdict.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/flight_recorder.hpp"
#include "lockstep/comm/local.hpp"
#include "support/temporary_directory.hpp"

namespace lockstep {
namespace {

using launchers::FlightCall;
using launchers::FlightDump;
using launchers::FlightFinding;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;

constexpr std::chrono::milliseconds kShort(100);

class FlightDumps : public ::testing::Test {
 protected:
  FlightDumps() { set_flight_folder(folder_); }
  ~FlightDumps() override { set_flight_folder(""); }

  [[nodiscard]] std::vector<FlightDump> dumps() const { return launchers::read_flight_dumps(folder_); }

  test::TemporaryDirectory directory_;
  std::filesystem::path folder_ = directory_ / "flight";
};

void one_rank_does_not_come(Communicator& world) {
  std::array<float, 4> data{};
  world.all_reduce(Buffer{data.data(), 4, DType::float32}, ReduceOp::sum, {.label = "weights"}).wait();
  if (world.rank() != 1) world.barrier({.timeout = kShort});
}

TEST_F(FlightDumps, a_timeout_writes_the_calls_of_all_ranks_and_says_where) {
  EXPECT_THAT([] { run_local_ranks(3, one_rank_does_not_come); },
              ThrowsMessage<TimeoutError>(EndsWith("lockstep recorder merge " + folder_.string())));
  const std::vector<FlightDump> found = dumps();
  ASSERT_THAT(found, SizeIs(3));
  for (const FlightDump& dump : found) {
    const std::vector<FlightCall>& calls = dump.calls;
    ASSERT_THAT(calls, SizeIs(dump.rank == 1 ? 1 : 2));
    EXPECT_EQ(calls[0].text, "all_reduce #0 (4 × float32, sum, 3 leaves)");
    EXPECT_EQ(calls[0].label, "weights");
    EXPECT_EQ(calls[0].state, "done");
    EXPECT_GE(calls[0].ended, calls[0].started);
    EXPECT_EQ(calls.back().state, dump.rank == 1 ? "done" : "failed");
  }
}

TEST_F(FlightDumps, without_a_folder_a_failure_writes_nothing) {
  set_flight_folder("");
  EXPECT_THAT([] { run_local_ranks(3, one_rank_does_not_come); },
              ThrowsMessage<TimeoutError>(EndsWith("if it is only slow")));
  EXPECT_FALSE(std::filesystem::exists(folder_));
}

TEST_F(FlightDumps, a_folder_that_cannot_be_made_is_said_beside_the_failure) {
  set_flight_folder(folder_ / "parent" / "is" / "missing");
  EXPECT_THAT([] { run_local_ranks(3, one_rank_does_not_come); },
              ThrowsMessage<TimeoutError>(AllOf(HasSubstr("waiting for rank 1"), HasSubstr("it cannot be made"))));
}

TEST_F(FlightDumps, a_job_that_has_ended_is_left_out) {
  run_local_ranks(3, [](Communicator& world) { world.barrier(); });
  EXPECT_THROW(run_local_ranks(2, one_rank_does_not_come), TimeoutError);
  const std::vector<FlightDump> found = dumps();
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_THAT(found[0].communicators, SizeIs(1));
}

TEST_F(FlightDumps, ranks_in_step_are_found_to_agree) {
  run_local_ranks(2, [this](Communicator& world) {
    for (int i = 0; i < 10; ++i) world.barrier();
    if (world.rank() == 0) dump_flight_recorder(folder_);
    world.barrier();
  });
  EXPECT_THAT(launchers::judge_flight(dumps()), IsEmpty());
}

TEST_F(FlightDumps, a_request_is_answered_by_the_next_rank_that_waits) {
  run_local_ranks(2, [this](Communicator& world) {
    world.barrier();
    if (world.rank() == 0) {
      request_flight_dump();
      world.barrier();
    } else {
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
      while (!std::filesystem::exists(folder_ / "flight-rank-1.json") && std::chrono::steady_clock::now() < deadline)
        std::this_thread::yield();
      world.barrier();
    }
  });
  EXPECT_THAT(dumps(), SizeIs(2));
}

TEST_F(FlightDumps, parts_of_a_communicator_have_names_of_their_own) {
  run_local_ranks(2, [this](Communicator& world) {
    Communicator first = world.duplicate("same name");
    Communicator second = world.duplicate("same name");
    second.barrier();
    dump_flight_recorder(folder_);
    world.barrier();
  });
  const std::vector<FlightDump> found = dumps();
  ASSERT_THAT(found[0].communicators, SizeIs(3));
  EXPECT_NE(found[0].communicators[1].id, found[0].communicators[2].id);
  EXPECT_EQ(found[0].communicators[2].id, found[1].communicators[2].id);
}

// One of three ranks, the last, falls out of step.
struct Astray {
  std::string name;
  FlightFinding::Kind kind;
  std::string call;  // of the others
  void (*body)(Communicator& world, Communicator& other, bool astray);
};

std::array<std::int64_t, 8> memory_of_ranks[3];

Buffer buffer_of(const Communicator& world, std::int64_t elements = 8, DType dtype = DType::int64) {
  return {memory_of_ranks[world.rank()].data(), elements, dtype};
}

std::vector<Astray> ways() {
  constexpr auto mismatch = FlightFinding::Kind::mismatch;
  constexpr auto never_called = FlightFinding::Kind::never_called;
  return {
      {"missing_call", mismatch, "all_reduce #0",
       [](Communicator& world, Communicator&, bool astray) {
         if (!astray) world.all_reduce(buffer_of(world)).wait();
         world.barrier();
       }},
      {"missing_last_call", never_called, "all_reduce #0",
       [](Communicator& world, Communicator&, bool astray) {
         if (!astray) world.all_reduce(buffer_of(world), ReduceOp::sum, {.timeout = kShort}).wait();
       }},
      {"extra_call", mismatch, "barrier #0",
       [](Communicator& world, Communicator&, bool astray) {
         if (astray) world.all_reduce(buffer_of(world)).wait();
         world.barrier();
       }},
      {"other_kind", mismatch, "all_reduce #0",
       [](Communicator& world, Communicator&, bool astray) {
         if (astray) {
           world.broadcast(buffer_of(world), 0).wait();
         } else {
           world.all_reduce(buffer_of(world)).wait();
         }
       }},
      {"other_count", mismatch, "all_reduce #0",
       [](Communicator& world, Communicator&, bool astray) {
         world.all_reduce(buffer_of(world, astray ? 7 : 8)).wait();
       }},
      {"other_dtype", mismatch, "all_reduce #0",
       [](Communicator& world, Communicator&, bool astray) {
         world.all_reduce(buffer_of(world, 8, astray ? DType::float32 : DType::int32)).wait();
       }},
      {"other_root", mismatch, "broadcast #0",
       [](Communicator& world, Communicator&, bool astray) {
         world.broadcast(buffer_of(world), astray ? 1 : 0).wait();
       }},
      {"swapped_order", mismatch, "all_reduce #0",
       [](Communicator& world, Communicator&, bool astray) {
         if (astray) world.barrier();
         world.all_reduce(buffer_of(world)).wait();
         if (!astray) world.barrier();
       }},
      {"stuck_elsewhere", never_called, "barrier #0",
       [](Communicator& world, Communicator& other, bool astray) {
         (astray ? other : world).barrier({.timeout = kShort});
       }},
  };
}

class FallsOutOfStep : public FlightDumps, public ::testing::WithParamInterface<Astray> {};

TEST_P(FallsOutOfStep, and_is_named) {
  const Astray& way = GetParam();
  EXPECT_THROW(run_local_ranks(3,
                               [&](Communicator& world) {
                                 Communicator work = world.duplicate("work");
                                 Communicator other = world.duplicate("other");
                                 way.body(work, other, world.rank() == 2);
                               }),
               CommError);
  const std::vector<FlightFinding> findings = launchers::judge_flight(dumps());
  ASSERT_FALSE(findings.empty());
  EXPECT_EQ(findings[0].kind, way.kind) << findings[0].text;
  EXPECT_THAT(findings[0].ranks, ElementsAre(2)) << findings[0].text;
  EXPECT_THAT(findings[0].call, StartsWith(way.call)) << findings[0].text;
}

INSTANTIATE_TEST_SUITE_P(Ways, FallsOutOfStep, ::testing::ValuesIn(ways()),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace lockstep
