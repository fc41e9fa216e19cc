// SPDX-License-Identifier: Apache-2.0
// Calls of memory on fake GPUs through the host, with threads as ranks.
#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "comm/collective_cases.hpp"
#include "comm/gpu/failing_cuda.hpp"
#include "comm/gpu/on_gpus.hpp"
#include "comm/matrix.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;
using Floats = std::vector<float>;

constexpr std::size_t kSmallPiece = 4096;    // 5000 floats are five
constexpr std::size_t kCasesPiece = 40'000;  // of the cases' sizes, some have one and some up to 14

Buffer buffer_of(Floats& values) { return {values.data(), static_cast<std::int64_t>(values.size()), DType::float32}; }

Floats random_floats(std::size_t elements, int rank) {
  std::mt19937 generator(static_cast<unsigned>(rank));
  std::normal_distribution<float> normal;
  Floats values(elements);
  for (float& value : values) value = normal(generator);
  return values;
}

class StagedCollectives : public ::testing::TestWithParam<CollectiveCase> {};

TEST_P(StagedCollectives, hold_over_local_at_world_sizes_1_to_4) {
  for (const int world_size : {1, 2, 3, 4}) {
    SCOPED_TRACE(world_size);
    test::FakeGpus gpus(world_size);
    on_staged("local", gpus, world_size, GetParam().check, kCasesPiece);
  }
}

TEST_P(StagedCollectives, hold_over_shm) {
  test::FakeGpus gpus(3);
  on_staged("shm", gpus, 3, GetParam().check, kCasesPiece);
}

INSTANTIATE_TEST_SUITE_P(Cases, StagedCollectives, ::testing::ValuesIn(collective_cases()),
                         [](const auto& instance) { return instance.param.name; });

class StagedMatrix : public ::testing::TestWithParam<int> {
 protected:
  template <class Body>
  void on_ranks(const Body& body) {
    test::FakeGpus gpus(GetParam());
    on_staged("local", gpus, GetParam(), body, kCasesPiece);
  }
  [[nodiscard]] unsigned seed() const { return static_cast<unsigned>(GetParam()); }
};

TEST_P(StagedMatrix, reductions_give_the_bits_of_the_oracle) {
  on_ranks([&](Communicator& world) { check_cells(world, every_pair_of_factors(all_reductions(), seed())); });
}
TEST_P(StagedMatrix, moves_give_the_bits_of_their_source) {
  on_ranks([&](Communicator& world) { check_cells(world, every_pair_of_factors(all_moves(), seed())); });
}
TEST_P(StagedMatrix, sums_of_fixed_leaves_have_the_same_bits) { on_ranks(check_fixed_leaves); }
TEST_P(StagedMatrix, a_tensor_in_many_calls_has_the_bits_of_one) { on_ranks(check_splits); }

INSTANTIATE_TEST_SUITE_P(Ranks, StagedMatrix, ::testing::Values(1, 2, 3, 4), ::testing::PrintToStringParamName());

// Below, at and above one piece and two, which is where both halves are in use.
TEST(StagedPieces, of_any_number_have_the_bits_of_local) {
  constexpr std::size_t kPiece = comm::gpu::kStagedPieceBytes / sizeof(float);
  test::FakeGpus gpus(2);
  on_staged("local", gpus, 2, [](Communicator& world) {
    for (const std::size_t elements : {kPiece - 1, kPiece, kPiece + 1, 2 * kPiece, 3 * kPiece + 5}) {
      const Floats both[] = {random_floats(elements, 0), random_floats(elements, 1)};
      Floats values = both[world.rank()];
      world.all_reduce(buffer_of(values)).wait();
      Floats expected(elements);
      std::transform(both[0].begin(), both[0].end(), both[1].begin(), expected.begin(), std::plus());
      ASSERT_TRUE(values == expected) << elements;
      values = both[world.rank()];
      world.broadcast(buffer_of(values), 1).wait();
      ASSERT_TRUE(values == both[1]) << elements;
    }
  });
}

TEST(StagedPieces, of_a_large_message_arrive_in_order) {
  test::FakeGpus gpus(2);
  const auto exchange = [](Communicator& world) {
    for (const std::size_t elements : {std::size_t{1023}, std::size_t{1024}, std::size_t{1025}, std::size_t{10'001}}) {
      const int peer = 1 - world.rank();
      Floats sent = random_floats(elements, world.rank());
      Floats received(elements);
      Work receive = world.receive(buffer_of(received), peer);
      world.send(buffer_of(sent), peer).wait();
      receive.wait();
      EXPECT_TRUE(received == random_floats(elements, peer)) << elements;
    }
  };
  on_staged("local", gpus, 2, exchange, kSmallPiece);
}

TEST(StagedCalls, in_flight_may_be_waited_for_in_reverse) {
  test::FakeGpus gpus(3);
  const auto body = [](Communicator& world) {
    std::vector<Floats> values;
    std::vector<Work> works;
    for (int call = 0; call < 6; ++call) values.emplace_back(5000, static_cast<float>(call + world.rank()));
    for (Floats& each : values) works.push_back(world.all_reduce(buffer_of(each)));
    for (; !works.empty(); works.pop_back()) works.back().wait();
    for (int call = 0; call < 6; ++call)
      EXPECT_EQ(values[static_cast<std::size_t>(call)], Floats(5000, static_cast<float>(3 * call + 3)));
  };
  on_staged("shm", gpus, 3, body, kSmallPiece);
}

// What the caller's stream still has to write is what travels, although the host never waited for it.
TEST(StagedStreams, a_call_comes_behind_what_the_current_stream_holds) {
  test::FakeGpus gpus(2);
  const auto body = [&](Communicator& world) {
    comm::gpu::CudaApi& cuda = *gpus.libraries(world.rank()).cuda;
    comm::gpu::Stream stream = nullptr;
    ASSERT_EQ(cuda.create_stream(stream), comm::gpu::CudaStatus::success);
    const test::FakeStreamGuard guard(stream);
    Floats later(5000, 7.0F);
    Floats values(5000, 1.0F);
    gpus.hold_streams(world.rank(), true);
    ASSERT_EQ(cuda.copy(values.data(), later.data(), later.size() * sizeof(float), stream),
              comm::gpu::CudaStatus::success);
    Work work = world.all_reduce(buffer_of(values));
    EXPECT_FALSE(work.done());
    gpus.hold_streams(world.rank(), false);
    work.wait();
    EXPECT_EQ(values, Floats(5000, 14.0F));
  };
  on_staged("local", gpus, 2, body, kSmallPiece);
}

TEST(StagedStreams, a_call_is_refused_while_a_graph_is_captured) {
  test::FakeGpus gpus(1);
  on_staged("local", gpus, 1, [&](Communicator& world) {
    const comm::gpu::Libraries& libraries = gpus.libraries(0);
    comm::gpu::Stream stream = nullptr;
    ASSERT_EQ(libraries.cuda->create_stream(stream), comm::gpu::CudaStatus::success);
    const test::FakeStreamGuard guard(stream);
    const auto graph = libraries.graphs->make_graph();
    graph->begin_capture();
    Floats values(5, 1.0F);
    EXPECT_THAT([&] { (void)world.all_reduce(buffer_of(values)); }, ThrowsMessage<CommError>(HasSubstr("CUDA graph")));
    graph->end_capture();
  });
}

TEST(StagedStreams, a_barrier_waits_for_the_device) {
  test::FakeGpus gpus(1);
  on_staged("local", gpus, 1, [&](Communicator& world) {
    comm::gpu::Stream stream = nullptr;
    ASSERT_EQ(gpus.libraries(0).cuda->create_stream(stream), comm::gpu::CudaStatus::success);
    const test::FakeStreamGuard guard(stream);
    gpus.hold_streams(0, true);
    EXPECT_THAT([&] { world.barrier({.timeout = std::chrono::milliseconds(100)}); },
                ThrowsMessage<TimeoutError>(HasSubstr("barrier #0")));
    gpus.hold_streams(0, false);
    ASSERT_TRUE(gpus.synchronize(0));
  });
}

TEST(StagedMemory, is_kept_for_the_next_calls) {
  test::FakeGpus gpus(2);
  const auto body = [&](Communicator& world) {
    Floats values(50'000);
    world.all_reduce(buffer_of(values)).wait();
    const int blocks = gpus.blocks_alive(world.rank());
    const int waits = gpus.host_waits(world.rank());
    for (int call = 0; call < 5; ++call) world.all_reduce(buffer_of(values)).wait();
    EXPECT_EQ(gpus.blocks_alive(world.rank()), blocks);
    EXPECT_EQ(gpus.host_waits(world.rank()), waits);
  };
  on_staged("local", gpus, 2, body, kSmallPiece);
}

TEST(StagedFailures, a_mismatch_names_what_the_user_called) {
  test::FakeGpus gpus(2);
  const auto body = [](Communicator& world) {
    Floats values(world.rank() == 0 ? 5000 : 4000, 1.0F);
    const Floats before = values;
    world.barrier();
    EXPECT_THAT([&] { world.all_reduce(buffer_of(values)).wait(); },
                ThrowsMessage<MismatchError>(AllOf(HasSubstr("rank 0: all_reduce #1 (5000 × float32, sum, 2 leaves)"),
                                                   HasSubstr("rank 1: all_reduce #1 (4000 × float32, sum, 2 leaves)"),
                                                   HasSubstr("(staged)"))));
    EXPECT_EQ(values, before) << "data was touched before the check";
  };
  on_staged("local", gpus, 2, body, kSmallPiece);
}

TEST(StagedFailures, a_mismatched_message_names_what_the_users_called) {
  test::FakeGpus gpus(2);
  const auto body = [](Communicator& world) {
    Floats values(world.rank() == 0 ? 5000 : 9000, 1.0F);
    const auto call = [&] {
      if (world.rank() == 0) world.send(buffer_of(values), 1).wait();
      if (world.rank() == 1) world.receive(buffer_of(values), 0).wait();
    };
    EXPECT_THAT(call,
                ThrowsMessage<MismatchError>(AllOf(HasSubstr("rank 0: send #0 (5000 × float32, to rank 1)"),
                                                   HasSubstr("rank 1: receive #0 (9000 × float32, from rank 0)"))));
  };
  on_staged("local", gpus, 2, body, kSmallPiece);
}

TEST(StagedFailures, without_pinned_memory_all_ranks_fail) {
  test::FakeGpus gpus(2);
  on_staged("local", gpus, 2, [&](Communicator& world) {
    Floats values(5000, 1.0F);
    gpus.fail_allocations(1, true);
    const auto call = [&] { world.all_reduce(buffer_of(values)).wait(); };
    if (world.rank() == 1) {
      EXPECT_THROW(call(), CommError);
    }
    if (world.rank() == 0) {
      EXPECT_THAT(call, ThrowsMessage<PeerDied>(HasSubstr("rank 1 gave up")));
    }
  });
}

// At the first copy to the host, at a later one, and at one back.
TEST(StagedFailures, a_copy_that_fails_is_named_and_ends_the_waits_of_the_others) {
  for (const int copies : {0, 1, 2, 3, 5}) {
    SCOPED_TRACE(copies);
    test::FakeGpus gpus(2);
    on_threads("local", 2, [&](Communicator& world) {
      comm::gpu::Libraries libraries = gpus.libraries(world.rank());
      FailingCuda cuda(*libraries.cuda);
      cuda.fail_copies_after(world.rank() == 1 ? copies : 1000);
      libraries.cuda = &cuda;
      const auto device = std::make_shared<comm::gpu::Device>(libraries, 0);
      Communicator staged(comm::gpu::make_staged_backend(device, world.backend().split(0, world.rank()), kSmallPiece),
                          "world", std::chrono::seconds(60));
      Floats values(5000, 1.0F);
      const auto call = [&] { staged.all_reduce(buffer_of(values)).wait(); };
      if (world.rank() == 1) {
        EXPECT_THAT(call, ThrowsMessage<CommError>(HasSubstr("cudaMemcpyAsync")));
      }
      if (world.rank() == 0) {
        EXPECT_THAT(call, ThrowsMessage<PeerDied>(HasSubstr("rank 1 gave up")));
      }
      ASSERT_TRUE(gpus.synchronize(world.rank()));
    });
  }
}

TEST(StagedFailures, a_rank_that_gives_up_ends_the_waits_of_the_others) {
  for (const char* const host : {"local", "shm"}) {
    test::FakeGpus gpus(3);
    on_staged(host, gpus, 3, [](Communicator& world) {
      if (world.rank() == 2) return world.abort("shard 7 is truncated");
      Floats values(5000, 1.0F);
      EXPECT_THAT([&] { world.all_reduce(buffer_of(values)).wait(); },
                  ThrowsMessage<PeerDied>(HasSubstr("rank 2 gave up: shard 7 is truncated")));
    });
  }
}

TEST(StagedFailures, a_rank_that_does_not_come_is_named) {
  test::FakeGpus gpus(3);
  on_staged("shm", gpus, 3, [](Communicator& world) {
    if (world.rank() == 1) return;
    Floats values(5000, 1.0F);
    EXPECT_THAT(
        [&] { world.all_reduce(buffer_of(values), ReduceOp::sum, {.timeout = std::chrono::milliseconds(500)}).wait(); },
        ::testing::Throws<CommError>(::testing::Property(&CommError::what, HasSubstr("rank 1"))));
  });
}

TEST(StagedFailures, survivors_go_on_as_a_smaller_communicator) {
  test::FakeGpus gpus(3);
  on_staged(
      "shm", gpus, 3,
      [](Communicator& world) {
        if (world.rank() == 0) return world.abort("gone");
        Floats values(5000, 1.0F);
        EXPECT_THROW(world.all_reduce(buffer_of(values)).wait(), PeerDied);
        Communicator rest = world.shrink("rest");
        EXPECT_EQ(rest.backend_name(), "staged");
        Floats sums(5000, 1.0F);
        rest.all_reduce(buffer_of(sums)).wait();
        EXPECT_EQ(sums, Floats(5000, 2.0F));
      },
      kSmallPiece, std::chrono::seconds(2));
}

}  // namespace
}  // namespace lockstep::testing
