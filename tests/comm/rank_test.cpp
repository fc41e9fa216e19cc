// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <tuple>

#include "comm/collective_cases.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/backend.hpp"
#include "lockstep/comm/mpi.hpp"
#include "support/rank_world.hpp"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class RankCollectives : public ::testing::TestWithParam<std::tuple<CollectiveCase, std::string>> {};

TEST_P(RankCollectives, hold) { std::get<0>(GetParam()).check(world(std::get<1>(GetParam()))); }

INSTANTIATE_TEST_SUITE_P(Cases, RankCollectives,
                         ::testing::Combine(::testing::ValuesIn(collective_cases()),
                                            ::testing::Values("mpi", "shm", "nodes")),
                         [](const auto& instance) {
                           return std::get<0>(instance.param).name + "_on_" + std::get<1>(instance.param);
                         });

class RankFailures : public ::testing::TestWithParam<std::string> {};

TEST_P(RankFailures, a_rank_that_does_not_come_is_named) {
  if (world().world_size() == 1) return;
  Communicator other = world(GetParam()).duplicate("other");
  if (world().rank() != 1) {
    EXPECT_THAT([&] { other.barrier({.timeout = std::chrono::milliseconds(100)}); },
                ThrowsMessage<TimeoutError>(AllOf(HasSubstr("barrier #0"), HasSubstr("waiting for rank 1 "))));
  }
  world().barrier();
}

// Peers learn of it by a notice, not by their deadlines, which are 60 s here.
TEST_P(RankFailures, a_rank_that_gives_up_ends_the_waits_of_the_others) {
  if (world().world_size() == 1) return;
  Communicator other = world(GetParam()).duplicate("other");
  const int culprit = world().world_size() - 1;
  if (world().rank() == culprit) {
    other.abort("shard 7 is truncated");
  } else {
    EXPECT_THAT([&] { other.barrier(); }, ThrowsMessage<PeerDied>(HasSubstr("rank " + std::to_string(culprit) +
                                                                            " gave up: shard 7 is truncated")));
  }
  world().barrier();
}

// Ranks 0 and 1 disagree on a message; the others take no part in it.
TEST_P(RankFailures, a_mismatch_ends_the_waits_of_those_who_cannot_see_it) {
  if (world().world_size() < 3) return;
  Communicator other = world(GetParam()).duplicate("other");
  std::vector<float> values(5000);
  const auto call = [&] {
    if (world().rank() == 0) other.send({values.data(), 5000, DType::float32}, 1).wait();
    if (world().rank() == 1) other.receive({values.data(), 4000, DType::float32}, 0).wait();
    other.barrier();
  };
  EXPECT_THAT(call, ThrowsMessage<MismatchError>(AllOf(HasSubstr("5000 × float32"), HasSubstr("4000 × float32"))));
  world().barrier();
}

INSTANTIATE_TEST_SUITE_P(Backends, RankFailures, ::testing::Values("mpi", "shm", "nodes"),
                         [](const auto& instance) { return instance.param; });

// More than one piece, whose steps overlap; unequal rows, of which some end inside a piece.
TEST(Nodes, large_calls_have_the_bits_of_mpi) {
  constexpr std::int64_t kElements = 2'500'003;
  Communicator& nodes = world("nodes");
  std::mt19937 generator(static_cast<unsigned>(nodes.rank()));
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
    std::vector<std::byte> input(static_cast<std::size_t>(kElements) * size_of(dtype));
    for (std::byte& byte : input) byte = static_cast<std::byte>(generator());  // infinities and NaNs are among them
    std::vector<std::byte> on_nodes = input;
    std::vector<std::byte> on_mpi(input.size());
    nodes.all_reduce({on_nodes.data(), kElements, dtype}).wait();
    world("mpi").all_reduce({on_mpi.data(), kElements, dtype}, input.data()).wait();
    EXPECT_TRUE(on_nodes == on_mpi) << "all_reduce of " << name_of(dtype);
    std::vector<std::int64_t> parts(static_cast<std::size_t>(nodes.world_size()), 0);
    parts.front() = kElements / 3;
    parts.back() += kElements - kElements / 3;
    const std::int64_t own = parts[static_cast<std::size_t>(nodes.rank())];
    nodes.reduce_scatter({on_nodes.data(), own, dtype}, input.data(), parts).wait();
    world("mpi").reduce_scatter({on_mpi.data(), own, dtype}, input.data(), parts).wait();
    EXPECT_TRUE(std::equal(on_nodes.begin(), on_nodes.begin() + own * static_cast<std::ptrdiff_t>(size_of(dtype)),
                           on_mpi.begin()))
        << "reduce_scatter of " << name_of(dtype);
  }
}

TEST(Ranks, a_rank_is_known_by_host_and_process) {
  const auto& peer = world().peers()[static_cast<std::size_t>(world().rank())];
  EXPECT_EQ(peer.local_rank, world().rank());
  EXPECT_EQ(peer.pid, getpid());
}

// A program that runs MPI itself lends us a communicator and goes on using it.
TEST(Ranks, an_adopted_communicator_leaves_the_callers_alone) {
  Communicator adopted = adopt(MPI_COMM_WORLD);
  EXPECT_EQ(adopted.world_size(), world().world_size());
  std::int64_t ours = 1;
  Work work = adopted.all_reduce({&ours, 1, DType::int64});
  int theirs = 1;
  MPI_Allreduce(MPI_IN_PLACE, &theirs, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  work.wait();
  EXPECT_EQ(ours, theirs);
  adopted.close();
}

// MPI_Finalize frees it, which must find no request open: the end of this program shows it.
TEST(Ranks, an_adopted_communicator_need_not_be_closed) {
  Communicator adopted = adopt(MPI_COMM_WORLD);
  const Communicator duplicate = adopted.duplicate("left open");
  EXPECT_EQ(duplicate.rank(), adopted.rank());
  adopted.barrier();
}

}  // namespace
}  // namespace lockstep::testing
