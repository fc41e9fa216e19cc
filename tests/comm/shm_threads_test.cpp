// SPDX-License-Identifier: Apache-2.0
// The shm backend with threads as ranks: the same code as between processes, where the sanitizers can follow it.
#include <gmock/gmock.h>

#include <cstring>
#include <random>

#include "comm/collective_cases.hpp"
#include "comm/thread_ranks.hpp"
#include "lockstep/base/error.hpp"

namespace lockstep::testing {
namespace {

class ShmCollectives : public ::testing::TestWithParam<CollectiveCase> {};

TEST_P(ShmCollectives, hold_at_world_sizes_1_to_5) {
  for (const int world_size : {1, 2, 3, 4, 5}) {
    SCOPED_TRACE(world_size);
    on_shm_threads(world_size, GetParam().check);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, ShmCollectives, ::testing::ValuesIn(collective_cases()),
                         [](const auto& instance) { return instance.param.name; });

// Memory from allocate() takes another path than ordinary memory; if one rank has ordinary memory, all must take the
// other.
TEST(ShmMemory, gives_the_same_bits_as_ordinary_memory) {
  constexpr std::int64_t kElements = 100'003;
  for (const int world_size : {1, 2, 3, 4}) {
    on_shm_threads(world_size, [](Communicator& world) {
      std::mt19937 generator(static_cast<unsigned>(world.rank()));
      std::normal_distribution<float> normal;
      std::vector<float> ordinary(kElements);
      for (float& value : ordinary) value = normal(generator);
      const auto own = world.allocate(kElements * sizeof(float));
      const auto mixed = world.allocate(kElements * sizeof(float));
      std::memcpy(own.get(), ordinary.data(), kElements * sizeof(float));
      std::memcpy(mixed.get(), ordinary.data(), kElements * sizeof(float));
      std::vector<float> also_ordinary = ordinary;
      world.all_reduce({ordinary.data(), kElements, DType::float32}).wait();
      world.all_reduce({own.get(), kElements, DType::float32}).wait();
      void* const either = world.rank() == 0 ? static_cast<void*>(also_ordinary.data()) : mixed.get();
      world.all_reduce({either, kElements, DType::float32}).wait();
      EXPECT_EQ(std::memcmp(ordinary.data(), own.get(), kElements * sizeof(float)), 0);
      EXPECT_EQ(std::memcmp(ordinary.data(), either, kElements * sizeof(float)), 0);
    });
  }
}

// Lines, cells and zero-copy calls are reused in all orders when sizes alternate and ranks drift apart.
TEST(ShmCollectives, stay_correct_over_many_calls_of_random_size) {
  for (const int world_size : {2, 3}) {
    on_shm_threads(world_size, [world_size](Communicator& world) {
      std::mt19937 sizes(5);  // the same on every rank
      std::mt19937 delays(static_cast<unsigned>(world.rank()));
      const auto own = world.allocate(200'000 * sizeof(std::int64_t));
      std::vector<std::int64_t> ordinary(200'000);
      for (int i = 0; i < 2000; ++i) {
        const auto elements = static_cast<std::int64_t>(1 + (sizes() % (i % 10 == 0 ? 200'000 : 300)));
        const bool in_arena = sizes() % 2 == 0;
        auto* const values = in_arena ? reinterpret_cast<std::int64_t*>(own.get()) : ordinary.data();
        for (std::int64_t e = 0; e < elements; ++e) values[e] = e + i + world.rank();
        for (std::uint32_t spin = delays() % 2000; spin > 0; --spin)
          std::atomic_signal_fence(std::memory_order_seq_cst);
        world.all_reduce({values, elements, DType::int64}).wait();
        const std::int64_t ranks = world_size * (world_size - 1) / 2;
        for (const std::int64_t e : {std::int64_t{0}, elements / 2, elements - 1}) {
          ASSERT_EQ(values[e], world_size * (e + i) + ranks) << "call " << i << ", element " << e << " of " << elements;
        }
      }
    });
  }
}

TEST(ShmFailures, a_rank_that_gives_up_ends_the_waits_of_the_others) {
  on_shm_threads(3, [](Communicator& world) {
    if (world.rank() == 2) return world.abort("shard 7 is truncated");
    EXPECT_THAT([&] { world.barrier(); },
                ::testing::ThrowsMessage<PeerDied>(::testing::HasSubstr("rank 2 gave up: shard 7 is truncated")));
  });
}

}  // namespace
}  // namespace lockstep::testing
