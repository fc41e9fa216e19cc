// SPDX-License-Identifier: Apache-2.0
// The composition `nodes` with threads as ranks: shm inside the nodes, between them, and as what it is compared with.
#include <gmock/gmock.h>

#include <cstring>
#include <functional>
#include <numeric>
#include <random>

#include "comm/collective_cases.hpp"
#include "comm/thread_ranks.hpp"
#include "lockstep/base/error.hpp"
#include "lockstep/comm/backend.hpp"
#include "nodes/node_layout.hpp"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// Each rank has the communicator "world" over the nodes, and a flat one of the same ranks.
void on_nodes_and_flat(const std::vector<int>& ranks,
                       const std::function<void(Communicator& world, Communicator& flat)>& body) {
  auto flat = comm::shm::make_shm_threads(std::accumulate(ranks.begin(), ranks.end(), 0));
  on_nodes(ranks, [&](Communicator& world) {
    Communicator of_all(std::move(flat[static_cast<std::size_t>(world.rank())]), "flat", std::chrono::seconds(60));
    of_all.barrier();  // what a rank does now no longer disturbs the making of world on another
    body(world, of_all);
  });
}

const std::vector<std::vector<int>> kNodes{{1}, {1, 1}, {1, 2}, {2, 2}, {3, 1, 2}};

class NodesCollectives : public ::testing::TestWithParam<CollectiveCase> {};

TEST_P(NodesCollectives, hold_on_nodes_of_all_sizes) {
  for (const std::vector<int>& ranks : kNodes) {
    SCOPED_TRACE(::testing::PrintToString(ranks));
    on_nodes(ranks, GetParam().check);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, NodesCollectives, ::testing::ValuesIn(collective_cases()),
                         [](const auto& instance) { return instance.param.name; });

// Bytes of any dtype: for floats this has infinities, denormals and NaNs of all kinds, too.
std::vector<std::byte> random_bytes(std::size_t bytes, int rank) {
  std::mt19937 generator(static_cast<unsigned>(rank));
  std::vector<std::byte> memory(bytes);
  for (std::byte& byte : memory) byte = static_cast<std::byte>(generator());
  return memory;
}

// What `call(communicator, output, input)` writes must be the same on both communicators.
void expect_same_bits(Communicator& world, Communicator& flat, std::size_t input_bytes, std::size_t output_bytes,
                      const std::function<Work(Communicator&, std::byte*, const std::byte*)>& call) {
  const std::vector<std::byte> input = random_bytes(input_bytes, world.rank());
  std::vector<std::byte> of_nodes(output_bytes);
  std::vector<std::byte> of_flat(output_bytes);
  call(world, of_nodes.data(), input.data()).wait();
  call(flat, of_flat.data(), input.data()).wait();
  EXPECT_TRUE(of_nodes == of_flat);
}

TEST(NodesBits, of_every_reduction_are_those_of_a_flat_communicator) {
  constexpr std::int64_t kElements = 5003;
  on_nodes_and_flat({2, 3}, [](Communicator& world, Communicator& flat) {
    for (const DType dtype : {DType::float64, DType::float32, DType::float16, DType::bfloat16, DType::int8}) {
      for (const ReduceOp op : {ReduceOp::sum, ReduceOp::avg, ReduceOp::min, ReduceOp::max, ReduceOp::prod}) {
        if (op == ReduceOp::avg && !is_floating(dtype)) continue;
        SCOPED_TRACE(std::string(name_of(op)) + " of " + std::string(name_of(dtype)));
        const std::size_t bytes = kElements * size_of(dtype);
        expect_same_bits(world, flat, bytes, bytes, [&](Communicator& on, std::byte* output, const std::byte* input) {
          return on.all_reduce({output, kElements, dtype}, input, op);
        });
      }
    }
  });
}

// More than one piece: steps of several pieces are under way at once.
TEST(NodesBits, of_large_calls_are_those_of_a_flat_communicator) {
  constexpr std::int64_t kElements = 2'500'003;
  for (const std::vector<int>& ranks : {std::vector<int>{2, 2}, {1, 2}}) {
    on_nodes_and_flat(ranks, [](Communicator& world, Communicator& flat) {
      for (const DType dtype : {DType::float32, DType::bfloat16}) {
        const std::size_t bytes = kElements * size_of(dtype);
        expect_same_bits(world, flat, bytes, bytes, [&](Communicator& on, std::byte* output, const std::byte* input) {
          return on.all_reduce({output, kElements, dtype}, input);
        });
      }
      const int root = world.world_size() - 1;
      const std::size_t bytes = kElements * sizeof(float);
      const std::size_t at_root = world.rank() == root ? bytes : 0;
      expect_same_bits(world, flat, bytes, at_root, [&](Communicator& on, std::byte* output, const std::byte* input) {
        return on.reduce({output, kElements, DType::float32}, input, root);
      });
    });
  }
}

std::vector<std::int64_t> parts_of(std::int64_t elements, int ranks) {
  std::vector<std::int64_t> parts;
  for (int rank = 0; rank < ranks; ++rank) parts.push_back(elements * rank / 2);
  return parts;
}

TEST(NodesBits, of_unequal_rows_are_those_of_a_flat_communicator) {
  for (const std::int64_t unit : {std::int64_t{301}, std::int64_t{500'001}}) {
    on_nodes_and_flat({3, 2}, [unit](Communicator& world, Communicator& flat) {
      const std::vector<std::int64_t> parts = parts_of(unit, world.world_size());
      const std::int64_t own = parts[static_cast<std::size_t>(world.rank())];
      const auto total = static_cast<std::size_t>(unit * 5);  // 0 + ½ + 1 + 1½ + 2
      for (const DType dtype : {DType::float32, DType::float16}) {
        const std::size_t element = size_of(dtype);
        const std::size_t row = static_cast<std::size_t>(own) * element;
        expect_same_bits(world, flat, total * element, row,
                         [&](Communicator& on, std::byte* output, const std::byte* input) {
                           return on.reduce_scatter({output, own, dtype}, input, parts);
                         });
        expect_same_bits(world, flat, row, total * element,
                         [&](Communicator& on, std::byte* output, const std::byte* input) {
                           auto* const own_input = const_cast<std::byte*>(input);
                           return on.all_gather(output, {own_input, own, dtype}, parts);
                         });
      }
    });
  }
}

TEST(NodesBits, of_memory_from_allocate_are_those_of_ordinary_memory) {
  constexpr std::int64_t kElements = 200'003;
  on_nodes_and_flat({2, 2}, [](Communicator& world, Communicator& flat) {
    for (const DType dtype : {DType::float32, DType::float16}) {
      const std::size_t bytes = kElements * size_of(dtype);
      std::vector<std::byte> ordinary = random_bytes(bytes, world.rank());
      const auto own = world.allocate(bytes);
      std::memcpy(own.get(), ordinary.data(), bytes);
      flat.all_reduce({ordinary.data(), kElements, dtype}).wait();
      world.all_reduce({own.get(), kElements, dtype}).wait();
      EXPECT_EQ(std::memcmp(own.get(), ordinary.data(), bytes), 0);
    }
  });
}

// Ranks that are ahead elsewhere must still meet in the same calls of the inner communicators.
TEST(NodesCalls, in_flight_of_all_sizes_meet_their_peers) {
  on_nodes_and_flat({2, 2}, [](Communicator& world, Communicator&) {
    std::mt19937 sizes(5);  // the same on every rank
    std::mt19937 pauses(static_cast<unsigned>(world.rank()));
    for (int round = 0; round < 30; ++round) {
      std::vector<std::vector<std::int64_t>> tensors;
      std::vector<Work> works;
      for (int i = 0; i < 12; ++i) {
        tensors.emplace_back(1 + sizes() % (i % 5 == 0 ? 1'500'000 : 300), world.rank() + i);
      }
      for (auto& tensor : tensors) {
        for (std::uint32_t spin = pauses() % 3; spin > 0; --spin) world.progress();
        works.push_back(world.all_reduce({tensor.data(), static_cast<std::int64_t>(tensor.size()), DType::int64}));
      }
      wait_all(works);
      for (std::size_t i = 0; i < tensors.size(); ++i) {
        const std::int64_t expected = 6 + 4 * static_cast<std::int64_t>(i);
        ASSERT_EQ(tensors[i].front(), expected) << "round " << round << ", call " << i;
        ASSERT_EQ(tensors[i].back(), expected) << "round " << round << ", call " << i;
      }
    }
  });
}

TEST(NodesFailures, a_mismatch_between_nodes_names_both_ranks_and_both_calls) {
  on_nodes_and_flat({2, 2}, [](Communicator& world, Communicator&) {
    std::vector<float> tensor(world.rank() < 2 ? 5000 : 6000, 1.0F);
    EXPECT_THAT(
        [&] {
          world.all_reduce({tensor.data(), static_cast<std::int64_t>(tensor.size()), DType::float32}).wait();
        },
        ThrowsMessage<MismatchError>(AllOf(HasSubstr("all_reduce #0 (5000 × float32, sum, 4 leaves); rank "),
                                           HasSubstr("all_reduce #0 (6000 × float32, sum, 4 leaves)"))));
    EXPECT_EQ(tensor, std::vector<float>(tensor.size(), 1.0F)) << "data was touched before the check";
  });
}

TEST(NodesFailures, a_rank_that_does_not_come_is_named_on_all_nodes) {
  on_nodes_and_flat({2, 2}, [](Communicator& world, Communicator& flat) {
    std::vector<float> tensor(5000);
    if (world.rank() != 1) {
      EXPECT_THAT(
          [&] {
            world
                .all_reduce({tensor.data(), 5000, DType::float32}, ReduceOp::sum,
                            {.timeout = std::chrono::milliseconds(100)})
                .wait();
          },
          ThrowsMessage<TimeoutError>(HasSubstr("waiting for rank 1 ")));
    }
    flat.barrier();
  });
}

TEST(NodesFailures, a_rank_that_gives_up_ends_the_waits_of_its_node_by_its_number_in_the_world) {
  on_nodes_and_flat({2, 2}, [](Communicator& world, Communicator&) {
    if (world.rank() == 3) return world.abort("shard 7 is truncated");
    EXPECT_THAT([&] { world.barrier(); }, ThrowsMessage<PeerDied>(HasSubstr("rank 3 gave up: shard 7 is truncated")));
  });
}

TEST(NodesParts, are_composed_again_where_it_is_worth_it) {
  on_nodes_and_flat({2, 3}, [](Communicator& world, Communicator&) {
    const auto check = [&](std::optional<int> color, int key, std::string_view backend) {
      auto part = world.split(color, key, "part");
      ASSERT_EQ(part.has_value(), color.has_value());
      if (!part) return;
      EXPECT_EQ(part->backend_name(), backend);
      const auto own = part->allocate(5000 * sizeof(std::int64_t));
      auto* const values = reinterpret_cast<std::int64_t*>(own.get());
      for (int i = 0; i < 5000; ++i) values[i] = i + part->rank();
      part->all_reduce({values, 5000, DType::int64}).wait();
      const std::int64_t ranks = part->world_size();
      for (int i = 0; i < 5000; ++i) ASSERT_EQ(values[i], ranks * i + ranks * (ranks - 1) / 2);
      part->close();
    };
    const int rank = world.rank();
    check(0, rank, "nodes");
    check(0, -rank, "nodes");
    check(rank < 4 ? std::optional(0) : std::nullopt, rank, "nodes");
    check(rank < 2 ? 0 : 1, rank, "shm");
    check(rank % 4 == 0 ? 0 : 1, rank, rank % 4 == 0 ? "shm" : "nodes");
    check(0, rank * 3 % 5, "shm");  // no neighbours: flat, which is shm here
  });
}

comm::Peer on_node(int node) { return {.host = "n", .node = node}; }

TEST(NodeLayout, counts_the_ranks_of_nodes) {
  const auto layout = comm::layout_of({on_node(1), on_node(1), on_node(0), on_node(2), on_node(2)});
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->first_ranks, (std::vector<int>{0, 2, 3, 5}));
  EXPECT_EQ(layout->slices(), 1);
  EXPECT_EQ(layout->node_of(1), 0);
  EXPECT_EQ(layout->node_of(2), 1);
  EXPECT_EQ(layout->node_of(4), 2);
}

TEST(NodeLayout, needs_neighbours) { EXPECT_FALSE(comm::layout_of({on_node(0), on_node(1), on_node(0)})); }

}  // namespace
}  // namespace lockstep::testing
