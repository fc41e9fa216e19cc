// SPDX-License-Identifier: Apache-2.0
#include "support/fake_gpu/fake_gpu.hpp"

#include <gmock/gmock.h>

#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

namespace lockstep::test {
namespace {

using comm::gpu::CudaApi;
using comm::gpu::CudaStatus;
using comm::gpu::Event;
using comm::gpu::NcclApi;
using comm::gpu::NcclComm;
using comm::gpu::NcclStatus;
using comm::gpu::Stream;
using comm::gpu::UniqueId;
using testing::Each;
using testing::ElementsAre;

constexpr std::chrono::milliseconds kShort(50);

template <class Status>
void ok(Status status) {
  if (status != Status::success) throw std::runtime_error("a call failed");
}

// One rank with a communicator, a stream and a buffer.
struct Rank {
  Rank(FakeGpus& gpus, int rank, std::size_t elements = 4)
      : cuda(*gpus.libraries(rank).cuda), nccl(*gpus.libraries(rank).nccl), data(elements, float(rank + 1)) {
    ok(cuda.create_stream(stream));
  }
  CudaApi& cuda;
  NcclApi& nccl;
  std::vector<float> data;
  Stream stream{};
  NcclComm comm{};

  NcclStatus state(NcclComm of) const {
    NcclStatus found{};
    ok(nccl.async_error(of, found));
    return found;
  }
  NcclStatus settled(NcclComm of) const {
    while (state(of) == NcclStatus::in_progress) std::this_thread::yield();
    return state(of);
  }
  void run(NcclStatus status) const {
    if (status == NcclStatus::in_progress) status = settled(comm);
    ok(status);
  }
  void all_reduce(std::size_t elements) {
    run(nccl.all_reduce(data.data(), data.data(), elements, DType::float32, ReduceOp::sum, comm, stream));
  }
};

// Ranks driven by this thread, one after the other: no call waits.
struct Ranks {
  explicit Ranks(int count, std::size_t elements = 4) : gpus(count) {
    for (int rank = 0; rank < count; ++rank) ranks.emplace_back(gpus, rank, elements);
  }
  Ranks& init() {
    UniqueId id{};
    ok(ranks[0].nccl.unique_id(id));
    const int count = static_cast<int>(ranks.size());
    for (int rank = 0; rank < count; ++rank) {
      EXPECT_EQ(ranks[rank].nccl.init(ranks[rank].comm, count, id, rank), NcclStatus::in_progress);
    }
    for (const Rank& rank : ranks) ok(rank.settled(rank.comm));
    return *this;
  }
  FakeGpus gpus;
  std::vector<Rank> ranks;
};

TEST(FakeGpus, runs_a_stream_in_order) {
  Ranks world(1);
  Rank& rank = world.ranks[0];
  std::vector<float> from{1, 2, 3, 4};
  ok(rank.cuda.copy(rank.data.data(), from.data(), 16, rank.stream));
  ok(rank.cuda.fill_zero(rank.data.data() + 2, 8, rank.stream));
  ASSERT_TRUE(world.gpus.synchronize(0));
  EXPECT_THAT(rank.data, ElementsAre(1, 2, 0, 0));
}

// One stream writes, another reads; the writer is stuck behind a collective to which its peer does not come yet.
std::vector<float> read_behind_a_collective(bool wait) {
  Ranks world(2);
  world.init();
  Rank& rank = world.ranks[0];
  Stream reader{};
  ok(rank.cuda.create_stream(reader));
  Event event{};
  ok(rank.cuda.create_event(event));
  std::vector<float> result(4);
  rank.all_reduce(4);
  ok(rank.cuda.record(event, rank.stream));
  if (wait) ok(rank.cuda.make_wait(reader, event));
  ok(rank.cuda.copy(result.data(), rank.data.data(), 16, reader));
  Event copied{};
  ok(rank.cuda.create_event(copied));
  ok(rank.cuda.record(copied, reader));
  while (!wait && rank.cuda.query(copied) == CudaStatus::not_ready) std::this_thread::yield();
  world.ranks[1].all_reduce(4);
  EXPECT_TRUE(world.gpus.synchronize(0));
  ok(rank.cuda.destroy_event(event));
  ok(rank.cuda.destroy_event(copied));
  return result;
}

TEST(FakeGpus, give_wrong_data_without_a_wait) { EXPECT_THAT(read_behind_a_collective(false), Each(1)); }
TEST(FakeGpus, give_right_data_with_a_wait) { EXPECT_THAT(read_behind_a_collective(true), Each(3)); }

#ifdef __SANITIZE_THREAD__  // needs halt_on_error=1, as ctest sets it
void read_while_another_stream_writes() {
  Ranks world(1);
  const Rank& rank = world.ranks[0];
  Stream reader{};
  ok(rank.cuda.create_stream(reader));
  std::vector<float> from(1000), shared(1000), to(1000);
  ok(rank.cuda.copy(shared.data(), from.data(), 4000, rank.stream));
  ok(rank.cuda.copy(to.data(), shared.data(), 4000, reader));
  EXPECT_TRUE(world.gpus.synchronize(0));
}

TEST(FakeGpusDeathTest, race_without_a_wait) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(read_while_another_stream_writes(), "data race");
}
#endif

TEST(FakeGpus, run_nothing_while_streams_are_held) {
  Ranks world(1);
  Rank& rank = world.ranks[0];
  world.gpus.hold_streams(0, true);
  Event event{};
  ok(rank.cuda.create_event(event));
  ok(rank.cuda.record(event, rank.stream));
  EXPECT_FALSE(world.gpus.synchronize(0, kShort));
  EXPECT_EQ(rank.cuda.query(event), CudaStatus::not_ready);
  world.gpus.hold_streams(0, false);
  EXPECT_TRUE(world.gpus.synchronize(0));
  EXPECT_EQ(rank.cuda.query(event), CudaStatus::success);
  ok(rank.cuda.destroy_event(event));
}

TEST(FakeGpus, count_events_blocks_and_waits) {
  FakeGpus gpus(1);
  CudaApi& cuda = *gpus.libraries(0).cuda;
  Event event{};
  std::byte *block{}, *pinned{};
  ok(cuda.create_event(event));
  ok(cuda.allocate(block, 100));
  ok(cuda.allocate_pinned(pinned, 100));
  EXPECT_THAT((std::vector{gpus.events_alive(0), gpus.blocks_alive(0), gpus.host_waits(0)}), ElementsAre(1, 2, 2));
  ok(cuda.destroy_event(event));
  ok(cuda.free(block));
  ok(cuda.free_pinned(pinned));
  EXPECT_THAT((std::vector{gpus.events_alive(0), gpus.blocks_alive(0), gpus.host_waits(0)}), ElementsAre(0, 0, 4));
  gpus.fail_allocations(0, true);
  EXPECT_EQ(static_cast<int>(cuda.allocate(block, 100)), 2);
}

TEST(FakeGpus, add_up_in_another_order_than_the_tree) {
  Ranks world(3, 1);
  world.init();
  world.ranks[0].data[0] = 1e8F;
  world.ranks[1].data[0] = -1e8F;
  world.ranks[2].data[0] = 1;
  for (Rank& rank : world.ranks) rank.all_reduce(1);
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_TRUE(world.gpus.synchronize(rank));
    EXPECT_EQ(world.ranks[rank].data[0], 0);  // (1 − 1e8) + 1e8; the tree: (1e8 − 1e8) + 1
  }
}

TEST(FakeGpus, scatter_gather_and_broadcast) {
  Ranks world(2);
  world.init();
  for (int r = 0; r < 2; ++r) {
    Rank& rank = world.ranks[r];
    rank.run(rank.nccl.reduce_scatter(rank.data.data(), rank.data.data() + 2 * r, 2, DType::float32, ReduceOp::sum,
                                      rank.comm, rank.stream));
    rank.run(
        rank.nccl.broadcast(rank.data.data() + 2, rank.data.data() + 2, 1, DType::float32, 0, rank.comm, rank.stream));
    rank.run(rank.nccl.all_gather(rank.data.data() + r, rank.data.data(), 1, DType::float32, rank.comm, rank.stream));
  }
  ASSERT_TRUE(world.gpus.synchronize(0) && world.gpus.synchronize(1));
  EXPECT_THAT(world.ranks[0].data, ElementsAre(3, 2, 1, 1));
  EXPECT_THAT(world.ranks[1].data, ElementsAre(3, 2, 1, 3));
}

TEST(FakeGpus, defer_a_launch_until_async_error_has_been_asked) {
  Ranks world(1);
  world.init();
  Rank& rank = world.ranks[0];
  const auto call = [&] {
    return rank.nccl.broadcast(rank.data.data(), rank.data.data(), 4, DType::float32, 0, rank.comm, rank.stream);
  };
  rank.run(call());
  rank.run(call());
  EXPECT_EQ(call(), NcclStatus::in_progress);
  EXPECT_EQ(call(), NcclStatus::invalid_argument);
  EXPECT_EQ(rank.settled(rank.comm), NcclStatus::success);
  EXPECT_EQ(call(), NcclStatus::success);
}

TEST(FakeGpus, never_end_calls_that_do_not_fit_until_abort) {
  Ranks world(2);
  world.init();
  world.ranks[0].all_reduce(4);
  world.ranks[1].all_reduce(3);
  EXPECT_FALSE(world.gpus.synchronize(0, kShort));
  ok(world.ranks[0].nccl.abort(world.ranks[0].comm));
  EXPECT_TRUE(world.gpus.synchronize(0));
  EXPECT_FALSE(world.gpus.synchronize(1, kShort));
  ok(world.ranks[1].nccl.abort(world.ranks[1].comm));
  EXPECT_TRUE(world.gpus.synchronize(1));
  EXPECT_THAT(world.gpus.nccl_calls(1), ElementsAre("init 0", "all_reduce 0", "abort 0"));
}

TEST(FakeGpus, end_while_streams_are_stuck) {
  Ranks world(2);
  world.init();
  world.ranks[0].all_reduce(4);
}

void exchange(Rank& rank, int other, bool grouped) {
  if (grouped) ok(rank.nccl.group_start());
  rank.run(rank.nccl.send(rank.data.data(), 2, DType::float32, other, rank.comm, rank.stream));
  rank.run(rank.nccl.receive(rank.data.data() + 2, 2, DType::float32, other, rank.comm, rank.stream));
  if (grouped) rank.run(rank.nccl.group_end());
}

TEST(FakeGpus, do_not_deadlock_in_groups) {
  Ranks world(2);
  world.init();
  for (int rank = 0; rank < 2; ++rank) exchange(world.ranks[rank], 1 - rank, true);
  ASSERT_TRUE(world.gpus.synchronize(0) && world.gpus.synchronize(1));
  EXPECT_THAT(world.ranks[0].data, ElementsAre(1, 1, 2, 2));
  EXPECT_THAT(world.ranks[1].data, ElementsAre(2, 2, 1, 1));
}

TEST(FakeGpus, deadlock_where_both_send_first_without_a_group) {
  Ranks world(2);
  world.init();
  for (int rank = 0; rank < 2; ++rank) exchange(world.ranks[rank], 1 - rank, false);
  EXPECT_FALSE(world.gpus.synchronize(0, kShort));
}

TEST(FakeGpus, send_to_themselves_in_a_group) {
  Ranks world(1);
  world.init();
  world.ranks[0].data = {5, 6, 0, 0};
  exchange(world.ranks[0], 0, true);
  ASSERT_TRUE(world.gpus.synchronize(0));
  EXPECT_THAT(world.ranks[0].data, ElementsAre(5, 6, 5, 6));
}

TEST(FakeGpus, fail_calls_after_an_async_error) {
  Ranks world(1);
  world.init();
  Rank& rank = world.ranks[0];
  world.gpus.set_async_error(0, NcclStatus::remote_error);
  EXPECT_EQ(rank.state(rank.comm), NcclStatus::remote_error);
  EXPECT_EQ(rank.nccl.all_reduce(rank.data.data(), rank.data.data(), 4, DType::float32, ReduceOp::sum, rank.comm,
                                 rank.stream),
            NcclStatus::remote_error);
}

TEST(FakeGpus, fail_an_init_when_told) {
  FakeGpus gpus(1);
  const Rank rank(gpus, 0);
  gpus.fail_next_init(0, NcclStatus::system_error);
  NcclComm comm{};
  EXPECT_EQ(rank.nccl.init(comm, 1, {}, 0), NcclStatus::in_progress);
  EXPECT_EQ(rank.settled(comm), NcclStatus::system_error);
}

TEST(FakeGpus, refuse_two_ranks_on_one_gpu) {
  FakeGpus gpus(2);
  gpus.set_uuid(1, "GPU-fake-0");
  const Rank a(gpus, 0), b(gpus, 1);
  NcclComm comm_a{}, comm_b{};
  ASSERT_EQ(a.nccl.init(comm_a, 2, {}, 0), NcclStatus::in_progress);
  ASSERT_EQ(b.nccl.init(comm_b, 2, {}, 1), NcclStatus::in_progress);
  EXPECT_EQ(a.settled(comm_a), NcclStatus::invalid_usage);
  EXPECT_THAT(b.nccl.last_error((b.settled(comm_b), comm_b)), testing::HasSubstr("Duplicate GPU"));
}

TEST(FakeGpus, shrink_after_a_revoke) {
  Ranks world(3);
  world.init();
  std::vector<NcclComm> smaller(3);
  for (const int r : {0, 2}) {
    Rank& rank = world.ranks[r];
    rank.all_reduce(4);  // to which rank 1 does not come
    EXPECT_EQ(rank.nccl.revoke(rank.comm), NcclStatus::in_progress);
    EXPECT_EQ(rank.settled(rank.comm), NcclStatus::success);
    const int excluded[] = {1};
    EXPECT_EQ(rank.nccl.shrink(rank.comm, excluded, smaller[r]), NcclStatus::in_progress);
  }
  for (const int r : {0, 2}) {
    Rank& rank = world.ranks[r];
    EXPECT_EQ(smaller[r], nullptr);
    EXPECT_EQ(rank.settled(rank.comm), NcclStatus::success);
    rank.comm = smaller[r];
    rank.data.assign(4, float(r + 1));
    rank.all_reduce(4);
  }
  ASSERT_TRUE(world.gpus.synchronize(0) && world.gpus.synchronize(2));
  EXPECT_THAT(world.ranks[2].data, Each(4));
}

TEST(FakeGpus, lack_shrink_and_revoke_in_old_versions) {
  Ranks world(1);
  world.gpus.set_version(22602);
  world.init();
  NcclComm smaller{};
  EXPECT_EQ(world.ranks[0].nccl.revoke(world.ranks[0].comm), NcclStatus::invalid_usage);
  EXPECT_EQ(world.ranks[0].nccl.shrink(world.ranks[0].comm, {}, smaller), NcclStatus::invalid_usage);
}

TEST(FakeGpus, split_by_color_and_key) {
  Ranks world(3);
  world.init();
  std::vector<NcclComm> parts(3);
  const int colors[] = {7, -1, 7};
  for (int r = 0; r < 3; ++r) {
    Rank& rank = world.ranks[r];
    EXPECT_EQ(rank.nccl.split(rank.comm, colors[r], -r, parts[r]), NcclStatus::in_progress);
  }
  for (const Rank& rank : world.ranks) EXPECT_EQ(rank.settled(rank.comm), NcclStatus::success);
  EXPECT_EQ(parts[1], nullptr);
  for (const int r : {0, 2}) {
    Rank& rank = world.ranks[r];
    rank.run(rank.nccl.broadcast(rank.data.data(), rank.data.data(), 4, DType::float32, 0, parts[r], rank.stream));
  }
  ASSERT_TRUE(world.gpus.synchronize(0) && world.gpus.synchronize(2));
  EXPECT_THAT(world.ranks[0].data, Each(3));  // rank 2 comes first by its key
}

TEST(FakeGpus, hang_in_abort_when_told) {
  Ranks world(1);
  world.init();
  world.gpus.make_abort_hang(0, true);
  std::atomic<bool> returned{false};
  std::thread aborting([&] {
    ok(world.ranks[0].nccl.abort(world.ranks[0].comm));
    returned = true;
  });
  while (world.gpus.nccl_calls(0).back() != "abort 0") std::this_thread::yield();
  EXPECT_FALSE(returned);
  world.gpus.make_abort_hang(0, false);
  aborting.join();
  EXPECT_TRUE(returned);
}

TEST(FakeGpus, know_the_current_stream_of_a_thread) {
  Ranks world(2);
  const Stream usual = world.ranks[0].cuda.current_stream(0);
  {
    const FakeStreamGuard guard(world.ranks[0].stream);
    EXPECT_EQ(world.ranks[0].cuda.current_stream(0), world.ranks[0].stream);
    EXPECT_NE(world.ranks[1].cuda.current_stream(0), world.ranks[0].stream);  // another rank's
    std::thread([&] { EXPECT_EQ(world.ranks[0].cuda.current_stream(0), usual); }).join();
  }
  EXPECT_EQ(world.ranks[0].cuda.current_stream(0), usual);
}

TEST(FakeGpus, wait_in_the_call_where_default_streams_run_on_the_caller) {
  FakeGpus gpus(1);
  gpus.run_default_streams_on_caller();
  const Rank rank(gpus, 0);
  Event event{};
  ok(rank.cuda.create_event(event));
  std::vector<float> from{1, 2, 3, 4}, to(4);
  ok(rank.cuda.copy(to.data(), from.data(), 16, rank.stream));
  ok(rank.cuda.record(event, rank.stream));
  ok(rank.cuda.make_wait(rank.cuda.current_stream(0), event));
  EXPECT_EQ(to, from);
  ok(rank.cuda.destroy_event(event));
}

}  // namespace
}  // namespace lockstep::test
